"""The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.

This module owns the messages of one exchange. It is pure but for the random nonce; the thread of the client that signs
in runs it. It must never be given a password: it checks a proof that the client knows one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Protocol

from parlour.wire.errors import UsageError

__all__ = ["Scram", "ScramSecret", "standin_salt"]

SALT = 16
"""Bytes of a salt."""


class ScramSecret(Protocol):
    """What a server keeps of a password for SCRAM."""

    @property
    def salt(self) -> bytes:
        """The salt."""
        ...

    @property
    def iterations(self) -> int:
        """How often the client hashes the password."""
        ...

    @property
    def stored_key(self) -> bytes:
        """H(ClientKey) of RFC 5802: it verifies the client's proof."""
        ...

    @property
    def server_key(self) -> bytes:
        """ServerKey of RFC 5802: it makes the server's own signature."""
        ...


def standin_salt(secret: bytes, skeleton: str) -> bytes:
    """Return the salt for a name without an account: always the same one, as a real account's would be."""
    return hmac.digest(secret, skeleton.encode(), "sha256")[:SALT]


class Scram:
    """One exchange, after the client's first message.

    Attributes:
        user: the name that the client gave.
    """

    def __init__(self, first: bytes) -> None:
        """Read the client's first message; raises UsageError if it is none, or wants what this server lacks."""
        text = _text(first)
        flag, _, rest = text.partition(",")
        authzid, _, self._first_bare = rest.partition(",")
        if flag not in ("n", "y"):
            raise UsageError("SCRAM: this node has no channel binding: send the header n,,")
        fields = _fields(self._first_bare)
        self.user = fields.get("n", "").replace("=2C", ",").replace("=3D", "=")
        if "m" in fields or not self.user or not fields.get("r"):
            raise UsageError("SCRAM: the first message is n,,n=NAME,r=NONCE")
        if authzid not in ("", f"a={fields['n']}"):
            raise UsageError("SCRAM: a client may sign in as itself alone: leave the authorization identity out")
        self._header = base64.b64encode(f"{flag},{authzid},".encode()).decode()
        self._nonce = fields["r"] + secrets.token_urlsafe(18)
        self._first_answer = ""

    def challenge(self, salt: bytes, iterations: int) -> bytes:
        """Return the server's first message."""
        self._first_answer = f"r={self._nonce},s={base64.b64encode(salt).decode()},i={iterations}"
        return self._first_answer.encode()

    def verify(self, final: bytes, secret: ScramSecret | None) -> bytes | None:
        """Return the server's last message, or None if the client's proof is wrong; with no secret it always is.

        Raises UsageError if `final` is not the client's last message of this exchange.
        """
        without_proof, _, proof = _text(final).rpartition(",p=")
        fields = _fields(without_proof)
        if fields.get("c") != self._header or fields.get("r") != self._nonce:
            raise UsageError("SCRAM: the last message does not belong to this exchange")
        try:
            given = base64.b64decode(proof, validate=True)
        except ValueError:
            raise UsageError("SCRAM: the proof p=… of the last message is not in base64") from None
        stored_key, server_key = (secret.stored_key, secret.server_key) if secret else (bytes(32), bytes(32))
        signed = f"{self._first_bare},{self._first_answer},{without_proof}".encode()
        signature = hmac.digest(stored_key, signed, "sha256")
        if len(given) != len(signature):
            return None
        client_key = bytes(a ^ b for a, b in zip(given, signature, strict=True))
        right = hmac.compare_digest(hashlib.sha256(client_key).digest(), stored_key)
        if not right or secret is None:
            return None
        return b"v=" + base64.b64encode(hmac.digest(server_key, signed, "sha256"))


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise UsageError("SCRAM: a message is not in UTF-8") from None


def _fields(text: str) -> Mapping[str, str]:
    """Return the fields of a message, `KEY=VALUE` each, with commas between them."""
    return {key: value for key, _, value in (field.partition("=") for field in text.split(","))}
