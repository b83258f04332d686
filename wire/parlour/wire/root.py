"""The root of the messages between client and node, and the types of their fields.

This module is pure; any thread may use it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from parlour.wire.records import MAX_KIND

__all__ = ["MAX_SECRET", "Kind", "Secret", "WireMessage"]

MAX_SECRET = 8192
"""Longest password, token or step of a sign-in, in characters; a JWT with many claims is the longest."""

Kind = Annotated[str, Meta(max_length=MAX_KIND)]
"""A word for the kind of a record, or for what is asked."""

Secret = Annotated[str, Meta(max_length=MAX_SECRET)]
"""A password, a token or a step of a sign-in."""


class WireMessage(Struct, frozen=True, tag_field="type", omit_defaults=True, gc=False):
    """The root of all messages: a MessagePack map whose `type` names the class; unknown fields are ignored."""
