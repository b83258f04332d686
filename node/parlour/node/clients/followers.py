"""What a node does for each order of an operator: it ends connections, announces, or tells which rooms are here.

This module owns these functions; the thread that looks for orders runs them. They must never wait for a client or a
store, nor tell of a private conversation.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from parlour.node.clients.news import NewsDesk
from parlour.node.clients.registry import ClientRegistry
from parlour.node.people.orders import Follower
from parlour.node.people.refusal import RefusedClientError
from parlour.node.rooms.table import RoomTable
from parlour.wire.limits import is_direct
from parlour.wire.skeleton import skeleton

__all__ = ["followers"]


def followers(clients: ClientRegistry, news: NewsDesk, rooms: RoomTable) -> dict[str, Follower]:
    """Return the functions that follow orders, by the word of the order."""
    return {
        "kick": partial(_kick, clients),
        "announce": partial(_announce, news),
        "rooms": partial(_list_rooms, rooms),
    }


def _kick(clients: ClientRegistry, order: dict[str, Any]) -> dict[str, Any]:
    """End the connections of an account or guest; the answer has their number."""
    who, reason = skeleton(str(order.get("who", ""))), str(order.get("reason", ""))
    refusal = RefusedClientError("kicked", "kicked by an operator" + (f": {reason}" if reason else ""))
    hit = {session for session, person in clients.people() if skeleton(person.name) == who}
    return {"connections": sum(clients.cut_off(session, refusal) for session in hit)}


def _announce(news: NewsDesk, order: dict[str, Any]) -> dict[str, Any]:
    """Tell all clients here a text of an operator."""
    news.announce("announcement", {"by": order.get("by", ""), "text": order.get("text", "")})
    return {}


def _list_rooms(rooms: RoomTable, _: dict[str, Any]) -> dict[str, Any]:
    """Answer with the rooms that have members here, and the number of people in each on all nodes."""
    return {"rooms": {name: people for name, people in rooms.occupied().items() if not is_direct(name)}}
