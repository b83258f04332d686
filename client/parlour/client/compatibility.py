"""The form in which posts are sent to nodes of older versions.

This module owns the translation; its function is pure and runs on any thread. It must never translate an edit, a
deletion or a reaction: an older node would log it as a message.
"""

from __future__ import annotations

from msgspec.structs import replace

from parlour.client.errors import NodeError
from parlour.wire.errors import UsageError
from parlour.wire.limits import minor_version
from parlour.wire.messages import Say
from parlour.wire.records import ACTION, EDIT, REACT, REDACT, STATE_KINDS

__all__ = ["understood"]

_KINDS_SINCE = 2
"""The first minor version of the protocol in which nodes know kinds of posts."""

_STATES_SINCE = 3
"""The first in which rooms have a state."""

_DEEDS = {EDIT: "edit messages", REDACT: "delete messages", REACT: "take reactions"}


def understood(say: Say, node: str, protocol: str) -> Say | NodeError:
    """Return the post as a node that speaks this version of the protocol understands it, or an error.

    For an older node an action becomes a text that begins with "/me ", and a reply or a notice becomes its text.
    """
    known = minor_version(protocol) >= _KINDS_SINCE
    if minor_version(protocol) >= _STATES_SINCE or (known and say.kind not in STATE_KINDS):
        return say
    older = f"{node} runs an older version of parlour"
    if say.kind in STATE_KINDS:
        return NodeError(f"{older}, which knows no rights in rooms: upgrade it", "bad_kind")
    if say.kind in _DEEDS:
        return NodeError(f"{older}, which cannot {_DEEDS[say.kind]}: upgrade it", "bad_kind")
    try:
        return replace(say, text=f"/me {say.text}" if say.kind == ACTION else say.text, kind="", ref=0, data={})
    except UsageError as error:
        return NodeError(f"{older}, which shows actions as texts: {error}", "bad_kind")
