"""The tokens of the operator's own site: JSON Web Tokens (RFC 7519) that its key signs.

This module owns the keys and the rules for tokens; any thread may call it. It must never let the token choose how it is
verified: each key has one algorithm.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from parlour.node.settings import NodeSettings
from parlour.wire.errors import ParlourError

__all__ = ["Claims", "WebTokens"]

MIN_SECRET = 32
"""Shortest secret for HS256, in bytes: a shorter one can be guessed from a single token (RFC 7518, section 3.2)."""

LEEWAY = 10
"""Seconds by which the clocks of the site and the node may differ."""


class Claims(NamedTuple):
    """What a token says of its bearer."""

    name: str
    operator: bool


class _Key(NamedTuple):
    id: str  # empty if the key has none
    algorithm: str
    key: Any


class WebTokens:
    """The keys of the operator's site, and the claims that tell a name and the rights of an operator."""

    def __init__(self, settings: NodeSettings) -> None:
        """Read the key files; raises ParlourError if one cannot be used."""
        self._name_claim = settings.jwt_name_claim
        self._operator_claim = settings.jwt_operator_claim
        self._keys: list[_Key] = []
        if settings.jwt_key is not None:
            self._keys.append(_single_key(settings.jwt_key))
        if settings.jwks is not None:
            self._keys += _key_set(settings.jwks)

    def verify(self, token: str) -> Claims | None:
        """Return what a token says; None if it is not valid now, or no key of ours signed it."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            return None
        for key in self._keys:
            if header.get("alg") == key.algorithm and (not key.id or header.get("kid", key.id) == key.id):
                claims = self._decode(token, key)
                if claims is not None:
                    return claims
        return None

    def _decode(self, token: str, key: _Key) -> Claims | None:
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                leeway=LEEWAY,
                # A token without an end would be a password that nobody can change.
                options={"require": ["exp"], "verify_aud": False},
            )
        except jwt.PyJWTError:
            return None
        name = claims.get(self._name_claim)
        operator = self._operator_claim is not None and claims.get(self._operator_claim) is True
        return Claims(name, operator) if isinstance(name, str) else None


def _single_key(path: str) -> _Key:
    """Return the key in a file: a public key in PEM, else a secret for HS256."""
    data = _read(path)
    if b"-----BEGIN" not in data:
        secret = data.strip()
        if len(secret) < MIN_SECRET:
            raise ParlourError(f"{path}: a secret has at least {MIN_SECRET} bytes, this one has {len(secret)}")
        return _Key("", "HS256", secret)
    try:
        key = load_pem_public_key(data)
    except ValueError:
        raise ParlourError(f"{path}: this is not a public key in PEM: give one, not a private key") from None
    algorithm = _algorithm(key)
    if algorithm is None:
        raise ParlourError(f"{path}: this key is neither RSA nor Ed25519: make one of these")
    return _Key("", algorithm, key)


def _key_set(path: str) -> list[_Key]:
    """Return the usable keys in a JSON Web Key Set (RFC 7517)."""
    try:
        listed = json.loads(_read(path))["keys"]
        keys = list(_usable(listed))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ParlourError(f"{path}: this is not a JSON Web Key Set: it has no list `keys`") from None
    if not keys:
        raise ParlourError(f"{path}: no key in this set is for HS256, RS256 or EdDSA")
    return keys


def _usable(listed: list[dict[str, Any]]) -> Iterator[_Key]:
    for entry in listed:
        if entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK.from_dict(entry, {"RSA": "RS256", "OKP": "EdDSA", "oct": "HS256"}.get(entry.get("kty", "")))
        except jwt.PyJWTError:
            continue
        algorithm = "HS256" if entry["kty"] == "oct" and len(key.key) >= MIN_SECRET else _algorithm(key.key)
        if algorithm is not None and entry.get("alg", algorithm) == algorithm:
            yield _Key(str(entry.get("kid", "")), algorithm, key.key)


def _algorithm(key: object) -> str | None:
    """Return the one algorithm that is used with a key; None if parlour has none for it."""
    if isinstance(key, RSAPublicKey):
        return "RS256"
    return "EdDSA" if isinstance(key, Ed25519PublicKey) else None


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ParlourError(f"cannot read {path} ({error.strerror}): make it readable for the node") from None
