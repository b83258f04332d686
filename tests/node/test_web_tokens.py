"""JWTs of the operator's own site: whose signature counts, what they must say, and what comes of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import get_default_algorithms

from parlour.node import NodeSettings
from parlour.node.people.webtoken import Claims, WebTokens
from parlour.wire.errors import ParlourError
from support.cluster import cluster
from support.netcat import netcat

SECRET = "a secret of the site that nobody can guess"

RSA = generate_private_key(65537, 2048)
OTHER_RSA = generate_private_key(65537, 2048)
ED = Ed25519PrivateKey.generate()


def pem(key: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    """Return the public key of a pair."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def claims(**more: Any) -> dict[str, Any]:
    """Return what a good token says."""
    return {"sub": "ada", "exp": time.time() + 60, **more}


def tokens(folder: Path, key: bytes, **settings: Any) -> WebTokens:
    """Return what a node makes of a key file."""
    file = folder / "key"
    file.write_bytes(key)
    return WebTokens(NodeSettings(jwt_key=str(file), **settings))


@pytest.mark.parametrize(
    ("public", "private", "algorithm"),
    [(SECRET.encode() + b"\n", SECRET, "HS256"), (pem(RSA), RSA, "RS256"), (pem(ED), ED, "EdDSA")],
    ids=["HS256", "RS256", "EdDSA"],
)
def test_claims(tmp_path: Path, public: bytes, private: Any, algorithm: str) -> None:
    """The name and the operator come from the claims that the settings name; both times are checked."""
    plain = tokens(tmp_path, public)
    own = tokens(tmp_path, public, jwt_name_claim="nick", jwt_operator_claim="admin")

    def made(**more: Any) -> str:
        return jwt.encode(claims(**more), private, algorithm)

    assert plain.verify(made(admin=True)) == Claims("ada", False)
    assert own.verify(made(nick="eve", admin=True)) == Claims("eve", True)
    assert own.verify(made(nick="eve", admin="true")) == Claims("eve", False)
    assert own.verify(made()) is None
    assert plain.verify(made(sub="")) == Claims("", False)
    assert plain.verify(made(exp=time.time() - 60)) is None
    assert plain.verify(made(nbf=time.time() + 60)) is None
    assert plain.verify(jwt.encode({"sub": "ada"}, private, algorithm)) is None, "a token without an end"
    assert plain.verify(made() + "x") is None


def unsigned(header: dict[str, str], signature: bytes = b"") -> str:
    """Return a token by hand."""
    parts = [json.dumps(part).encode() for part in (header, claims())]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, signature))


def test_token_does_not_choose_its_algorithm(tmp_path: Path) -> None:
    """Neither `none`, nor the public key as a secret, nor another key of the same kind."""
    site = tokens(tmp_path, pem(RSA))
    assert site.verify(jwt.encode(claims(), RSA, "RS256")) == Claims("ada", False)
    for algorithm in ("none", "None", "NONE", "RS256", "HS256"):
        assert site.verify(unsigned({"alg": algorithm, "typ": "JWT"})) is None
    confused = unsigned({"alg": "HS256", "typ": "JWT"}).rpartition(".")[0]
    signature = hmac.digest(pem(RSA), confused.encode(), hashlib.sha256)
    forged = f"{confused}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert jwt.get_unverified_header(forged)["alg"] == "HS256"
    assert site.verify(forged) is None
    assert site.verify(jwt.encode(claims(), OTHER_RSA, "RS256")) is None
    assert site.verify(jwt.encode(claims(), ED, "EdDSA")) is None
    assert site.verify(jwt.encode(claims(), SECRET, "HS256")) is None


def test_key_set(tmp_path: Path) -> None:
    """Each key of a set is used by its id and its one algorithm; keys for other things are left out."""
    algorithms = get_default_algorithms()
    listed = [
        {**json.loads(algorithms["RS256"].to_jwk(RSA.public_key())), "kid": "a", "use": "sig"},
        {**json.loads(algorithms["EdDSA"].to_jwk(ED.public_key())), "kid": "b", "alg": "EdDSA"},
        {**json.loads(algorithms["RS256"].to_jwk(OTHER_RSA.public_key())), "kid": "c", "use": "enc"},
        {"kty": "EC", "kid": "d"},
    ]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": listed}))
    site = WebTokens(NodeSettings(jwks=str(file)))
    for private, algorithm, key_id, good in (
        (RSA, "RS256", "a", True),
        (RSA, "RS256", None, True),
        (RSA, "RS256", "b", False),
        (ED, "EdDSA", "b", True),
        (OTHER_RSA, "RS256", "c", False),
    ):
        token = jwt.encode(claims(), private, algorithm, headers={"kid": key_id} if key_id else None)
        assert (site.verify(token) is not None) == good, (algorithm, key_id)


@pytest.mark.parametrize(
    ("content", "option", "fault"),
    [
        (b"short", "jwt_key", "at least 32 bytes"),
        (b"-----BEGIN nonsense", "jwt_key", "not a public key in PEM"),
        (RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "jwt_key", "not a private key"),
        (b"{}", "jwks", "no list `keys`"),
        (b'{"keys": [{"kty": "EC"}]}', "jwks", "no key in this set"),
    ],
)
def test_wrong_key_files(tmp_path: Path, content: bytes, option: str, fault: str) -> None:
    """The node does not start, and says in one line what is wrong with the file."""
    file = tmp_path / "key"
    file.write_bytes(content)
    settings: dict[str, Any] = {option: str(file)}
    with cluster(0) as running, pytest.raises(ParlourError, match=fault):
        running.add_node("n1", **settings)


def test_sign_in(tmp_path: Path) -> None:
    """A token makes the account that it names, and the same on the next node; it is for that name alone.

    It does not bring back an account that was removed.
    """
    file = tmp_path / "key"
    file.write_text(SECRET)
    settings = NodeSettings(guests=False, jwt_key=str(file), jwt_operator_claim="admin")
    with cluster(2, settings) as running:

        def answer(number: int, name: str, **more: Any) -> dict[str, Any]:
            with netcat(running.nodes[number]) as nc:
                token = jwt.encode(claims(**more), SECRET, "HS256")
                nc.send({"type": "hello", "name": name, "jwt": token}, {"type": "ask", "id": 1, "what": "whoami"})
                first = nc.read()
                return nc.get("answer")["data"] if first["type"] == "welcome" else first

        assert answer(0, "Ada")["account"] == "ada"
        again = answer(1, "ada", admin=True)
        assert (again["account"], again["operator"]) == ("ada", True)
        assert not answer(1, "ada")["operator"]
        assert answer(0, "bob")["code"] == "bad_login"
        assert answer(0, "ada", exp=time.time() - 60)["code"] == "bad_login"
        running.nodes[0].people.directory.accounts.remove("ada")
        removed = answer(1, "ada")
        assert (removed["code"], removed["fatal"]) == ("name_taken", True)
        assert "the account ada was removed" in removed["text"]
    with cluster(1) as running, netcat(running.nodes[0]) as nc:
        nc.send({"type": "hello", "name": "ada", "jwt": jwt.encode(claims(), SECRET, "HS256")})
        assert nc.read()["code"] == "bad_login"
