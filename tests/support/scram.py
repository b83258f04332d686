"""The client's side of SCRAM-SHA-256, for tests: RFC 5802 by hand.

This module owns nothing; it must never use the node's own code, because that is under test.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

__all__ = ["proof", "scram_fields"]


def scram_fields(message: bytes) -> dict[str, str]:
    """Return the fields of a message."""
    return dict(field.split("=", 1) for field in message.decode().split(","))


def proof(password: str, first: bytes, answer: bytes) -> tuple[bytes, bytes]:
    """Return the client's last message, and the server's last message that has to follow.

    `first` is the client's first message without its header `n,,`, and `answer` is the server's first message.
    """
    fields = scram_fields(answer)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = b"c=biws,r=" + fields["r"].encode()
    signed = b",".join((first, answer, without_proof))
    signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
    client_proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
    return without_proof + b",p=" + base64.b64encode(client_proof), b"v=" + base64.b64encode(server)
