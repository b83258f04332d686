"""What a node of an older version is sent in place of posts that it does not know.

This module owns the words for such nodes; its function is pure and runs on any thread. It must never turn an edit, a
deletion or a reaction into a text: such a node would log it as something said.
"""

from __future__ import annotations

from msgspec.structs import replace

from parlour.client.errors import NodeError
from parlour.wire.errors import UsageError
from parlour.wire.limits import minor_version
from parlour.wire.messages import Say
from parlour.wire.records import ACTION, EDIT, REACT, REDACT

__all__ = ["understood"]

_KINDS_SINCE = 2
"""The minor version of the protocol from which on nodes know kinds of posts."""

_DEEDS = {EDIT: "edit messages", REDACT: "delete messages", REACT: "take reactions"}


def understood(say: Say, node: str, protocol: str) -> Say | NodeError:
    """Return the post as this node understands it, by the version of the protocol that it speaks, or why it cannot.

    Of an action an older node is sent the text that begins with "/me ", of a reply or a notice the text.
    """
    if minor_version(protocol) >= _KINDS_SINCE or not (say.kind or say.ref or say.data):
        return say
    older = f"{node} runs an older version of parlour"
    if say.kind in _DEEDS:
        return NodeError(f"{older}, which cannot {_DEEDS[say.kind]}: upgrade it", "bad_kind")
    try:
        return replace(say, text=f"/me {say.text}" if say.kind == ACTION else say.text, kind="", ref=0, data={})
    except UsageError as error:
        return NodeError(f"{older}, which shows actions as texts: {error}", "bad_kind")
