"""News for people: what happens to a person besides rooms reaches all sessions of that person, on all nodes.

This module owns the sessions by identity (see `wire.direct`); any thread may call it. It must never assume that news
arrive: the relay may lose them, so what they tell is also in the directory.
"""

from __future__ import annotations

from typing import Any, Protocol

from parlour.runtime.locks import make_lock
from parlour.wire import relay
from parlour.wire.asks import News
from parlour.wire.codec import frame

__all__ = ["NewsDesk", "NewsReader"]


class NewsReader(Protocol):
    """A session, as the news desk sees it."""

    def tell(self, news: News, frames: bytes) -> None:
        """Take news in, and send their frames to the client if it knows such frames; does not block."""
        ...


class _Publisher(Protocol):
    """The relay, as the news desk sees it."""

    def publish(self, topic: bytes, header: relay.RelayMessage) -> None:
        """Send to the nodes that listen to the topic."""
        ...


class NewsDesk:
    """The sessions of one node by identity."""

    def __init__(self, publisher: _Publisher) -> None:
        self._publisher = publisher
        # Guards _readers. Rank 16.
        self._mutex = make_lock(16, "news desk")
        self._readers: dict[str, set[NewsReader]] = {}

    def enter(self, identity: str, reader: NewsReader) -> None:
        """Give the session the news of this person from now on."""
        with self._mutex:
            self._readers.setdefault(identity, set()).add(reader)

    def leave(self, identity: str, reader: NewsReader) -> None:
        """Give the session no more news of this person."""
        with self._mutex:
            readers = self._readers.get(identity, set())
            readers.discard(reader)
            if not readers:
                self._readers.pop(identity, None)

    def tell(self, identity: str, what: str, data: dict[str, Any]) -> None:
        """Tell all sessions of a person, here and on the other nodes."""
        news = relay.PersonNews(identity, what, data)
        self.hear(news)
        self._publisher.publish(relay.PEOPLE_TOPIC, news)

    def announce(self, what: str, data: dict[str, Any]) -> None:
        """Tell all sessions on this node."""
        with self._mutex:
            readers = [reader for readers in self._readers.values() for reader in readers]
        _tell(readers, News(what, data))

    def hear(self, news: relay.PersonNews) -> None:
        """Tell the sessions of a person on this node."""
        with self._mutex:
            readers = list(self._readers.get(news.person, ()))
        if readers:
            _tell(readers, News(news.what, news.data))


def _tell(readers: list[NewsReader], told: News) -> None:
    frames = frame(told)
    for reader in readers:
        reader.tell(told, frames)
