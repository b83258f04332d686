"""The envelope of everything that a client asks besides posts and rooms, its answer, and news that come unasked.

This module owns their fields; instances are immutable, and any thread may use them. It must never know what is asked.
"""

from __future__ import annotations

from typing import Any

from parlour.wire.limits import Place
from parlour.wire.records import check_data
from parlour.wire.root import Kind, WireMessage

__all__ = ["Answer", "Ask", "News"]


class Ask(WireMessage, frozen=True, tag="ask"):
    """Asks the node for something besides posts and rooms, or to change it. Answered by `answer`, or by `error`.

    `id` is chosen by the client, and comes back as `ask` in the answer. docs/protocol.md lists what may be asked.
    """

    id: Place
    what: Kind
    data: dict[str, Any] = {}

    def __post_init__(self) -> None:
        check_data(self.data)


class Answer(WireMessage, frozen=True, tag="answer"):
    """The answer to the `ask` with this id."""

    ask: Place
    data: dict[str, Any] = {}


class News(WireMessage, frozen=True, tag="news"):
    """Tells a client of protocol 1.3 or later about its account, unasked; docs/protocol.md lists `what` there is."""

    what: Kind
    data: dict[str, Any] = {}
