"""Passwords: what is kept of them, and whether one matches.

This module owns the parameters of argon2id and of SCRAM-SHA-256 (RFC 5802, RFC 7677). Its functions take tens of
milliseconds outside the interpreter's lock, so a node calls them on threads of their own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from msgspec import Struct
from scramp.utils import saslprep  # type: ignore[import-untyped]

from parlour.wire.errors import UsageError

__all__ = ["ITERATIONS", "Password", "make_password", "matches"]

ITERATIONS = 65_536
"""How often a client hashes a password for SCRAM: some 30 ms, which a phone can bear at each sign-in."""

LONGEST = 1024
"""Bytes of a password, at most: to hash a longer one would take long."""

# The second of the choices that OWASP's Password Storage Cheat Sheet recommends: 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class Password(Struct, frozen=True):
    """What is kept of a password: the hash, and what SCRAM needs (salt, iterations and keys of RFC 5802)."""

    argon2: str
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


def make_password(text: str) -> Password:
    """Return what is to be kept of a password; raises UsageError if it cannot be one."""
    prepared = _prepare(text)
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return Password(_HASHER.hash(prepared), salt, ITERATIONS, hashlib.sha256(client_key).digest(), server_key)


def matches(password: Password | None, text: str) -> bool:
    """Return whether a text is the password; without one, this takes as long and returns False."""
    try:
        return (
            _HASHER.verify(_standin() if password is None else password.argon2, _prepare(text)) and password is not None
        )
    except (UsageError, VerificationError, InvalidHashError):
        return False


def _prepare(text: str) -> bytes:
    """Return the bytes of a password, after SASLprep (RFC 4013); raises UsageError for a text that cannot be one."""
    try:
        prepared = str(saslprep(text)).encode()
    except Exception:  # the library raises its own error, or that of the codec
        raise UsageError("a password has visible characters alone: leave control characters out") from None
    if not 1 <= len(prepared) <= LONGEST:
        raise UsageError(f"a password has 1 to {LONGEST} bytes")
    return prepared


@lru_cache(maxsize=1)
def _standin() -> str:
    """Return what looks like a hash and which no password has; making a real one would make the first look longer."""
    salt, digest = (base64.b64encode(secrets.token_bytes(n)).decode().rstrip("=") for n in (16, 32))
    cost = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${digest}"
