"""The handlers of asks by which an operator of the cluster reaches people on all nodes.

This module owns what they answer; it runs on the client's own thread, which waits for the answers of the nodes. It must
never act for anybody else.
"""

from __future__ import annotations

from typing import Any

from parlour.directory.orders import check_line
from parlour.node.clients.asker import Asker, RefusedAskError
from parlour.wire import ask_data
from parlour.wire.errors import UsageError
from parlour.wire.limits import check_name

__all__ = ["announce", "kick"]


def kick(session: Asker, data: ask_data.Kick) -> dict[str, Any]:
    """End all connections of an account or guest."""
    _check_operator(session)
    name, orders = check_name(data.name), session.context.people.directory.orders
    connections, _ = orders.kick(session.person.name, name, check_line(data.reason))
    if not connections:
        raise RefusedAskError("no_person", f"nobody is connected as {name}: no connection was ended")
    return {"connections": connections}


def announce(session: Asker, data: ask_data.Announce) -> dict[str, Any]:
    """Tell everybody who is connected."""
    _check_operator(session)
    text, by = check_line(data.text), session.person.name
    if not text:
        raise UsageError("give a text")
    session.context.people.directory.orders.announce(by, text, shown=by)
    return {}


def _check_operator(session: Asker) -> None:
    if not session.person.operator:
        raise RefusedAskError("forbidden", "only operators of the cluster may do this: ask one")
