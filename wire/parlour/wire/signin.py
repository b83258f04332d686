"""The messages of a sign-in by SASL, between client and node, both ways.

This module owns their fields; instances are immutable, and any thread may use them. It must never know a mechanism.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from parlour.wire.root import Secret, WireMessage

__all__ = ["Auth", "Challenge"]


class Auth(WireMessage, frozen=True, tag="auth"):
    """A step of a sign-in by SASL, before the hello. Answered by `challenge`, or by `error`, which ends the sign-in.

    The first step names the `mechanism`; `data` is in base64.
    """

    mechanism: Annotated[str, Meta(max_length=32)] = ""
    data: Secret = ""


class Challenge(WireMessage, frozen=True, tag="challenge"):
    """The answer to `auth`: the server's next `data`, in base64. With `done` the client is signed in: say hello."""

    data: str = ""
    done: bool = False
