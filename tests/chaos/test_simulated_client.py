"""A simulated client, and the client of the library: what they hand on, and what they post."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, cast

import pytest

from parlour.chaos.json_client import Acknowledged
from parlour.chaos.library_client import LibraryClient
from parlour.chaos.records import Record
from parlour.chaos.requests import ClientPlan
from parlour.chaos.simulated_client import SimulatedClient
from parlour.client.errors import NodeError
from parlour.client.events import Changed, Disconnected, Event, Message, Presence, Reconnected, Reconnecting, Restarted
from parlour.client.room import Room
from support.waiting import eventually


class Told:
    """Stands in for a room in which these events happened."""

    def __init__(self, *events: Event) -> None:
        self._events = events

    def events(self, timeout: float) -> Iterator[Event]:
        """Yield the events."""
        return iter(self._events)


def told(*events: Event) -> LibraryClient:
    """Return a client of the library in a room in which these events happened."""
    client = LibraryClient("ada", ["lobby"], [])
    client._rooms["lobby"] = cast(Room, Told(*events))
    return client


def test_library_client_hands_records_on() -> None:
    """Texts and changes become records, returns are counted, and presence is ignored."""
    message = Message("lobby", 1, "s-1", "bob", 1, "hello", replay=False)
    edit = Message("lobby", 2, "s-2", "bob", 1, "hi", replay=False, kind="edit", ref=1)
    news = Presence("lobby", ("bob",), (), 2)
    client = told(message, news, Reconnecting("it broke"), Reconnected("n2"), Changed(edit, message, message))
    assert [record for _, record, _ in client.take()] == [
        Record(1, "s-1", "bob", 1, "hello"),
        Record(2, "s-2", "bob", 1, "hi", "edit", 1),
    ]
    assert (client.troubles, client.returns) == ([], 1)


@pytest.mark.parametrize(
    ("event", "trouble"),
    [
        (Restarted("lobby", "e1", 7), "it could not go on from its last message"),
        (Disconnected("no way"), "cut off for good: no way"),
    ],
)
def test_troubles_of_a_library_client(event: Event, trouble: str) -> None:
    """No log of a round loses its end, and no client is cut off for good: both are troubles."""
    client = told(event)
    assert list(client.take()) == []
    assert client.troubles == [("lobby", trouble)]


class Node:
    """Stands in for a connected client: it logs each post at once, or refuses it."""

    def __init__(self, refuse: bool = False) -> None:
        self.log: list[Record] = []
        self.troubles: list[tuple[str, str]] = []
        self._refuse = refuse
        self._taken = 0

    def post(self, room: str, text: str, kind: str = "", ref: int = 0) -> Future[Acknowledged]:
        """Log a post."""
        answer: Future[Acknowledged] = Future()
        if self._refuse and kind:
            answer.set_exception(NodeError("it is deleted", "bad_ref"))
        else:
            offset = len(self.log) + 1
            self.log.append(Record(offset, f"s-{offset}", "c1", 1, text, kind, ref))
            answer.set_result(Acknowledged(f"s-{offset}", offset))
        return answer

    def take(self) -> Iterator[tuple[str, Record, float]]:
        """Yield the records that were logged since the last call."""
        records, self._taken = self.log[self._taken :], len(self.log)
        return iter([("lobby", record, 1.0) for record in records])


def talk(node: Node, posts: int, seed: str = "seed") -> SimulatedClient:
    """Return a client that has made so many posts and heard of each at once."""
    client = SimulatedClient(ClientPlan("c1", ["lobby"], 1e-6, seed, None), [], {}, {})
    client._client = cast(Any, node)
    quiet = threading.Event()
    client.talk(quiet)

    def enough() -> bool:
        client.hear()
        return len(client.rooms["lobby"].posts) >= posts

    try:
        eventually(enough)
    finally:
        quiet.set()
        eventually(lambda: not client.waiting)
    client.hear()
    return client


def test_client_posts_all_kinds() -> None:
    """It replies, edits, deletes and reacts only to records that allow it, and posts nothing twice."""
    node = Node()
    client = talk(node, 500)
    assert client.troubles() == []
    assert {record.kind for record in node.log} == {"", "edit", "redact", "react"}
    assert any(record.ref and not record.kind for record in node.log)
    deleted: set[int] = set()
    for record in node.log:
        about = node.log[record.ref - 1] if record.ref else None
        if record.kind:
            assert about is not None
            assert about.offset < record.offset
            assert record.ref not in deleted
            assert about.kind in ("", "edit", "react") if record.kind == "redact" else about.kind == ""
        if record.kind == "redact":
            deleted.add(record.ref)
    texts = [(record.kind, record.ref, record.text) for record in node.log]
    assert len(set(texts)) == len(texts)


def test_refused_changes_are_for_the_judge() -> None:
    """A refusal because of a deleted record is no trouble: the judge knows whether it is right."""
    client = talk(Node(refuse=True), 100)
    assert client.troubles() == []
    posts = [post.said() for post in client.rooms["lobby"].posts]
    assert any(post.refused for post in posts)
    assert all(post.refused == (post.offset is None) for post in posts)


def test_posts_come_from_the_seed() -> None:
    """The same seed gives the same kinds and words, whatever the client hears."""
    one, other = (talk(node, 50).rooms["lobby"].posts for node in (Node(), Node(refuse=True)))
    pairs = [(a, b) for a, b in zip(one, other, strict=False) if a.kind == b.kind == ""]
    assert pairs
    assert all(a.text == b.text for a, b in pairs)
