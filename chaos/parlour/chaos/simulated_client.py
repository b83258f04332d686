"""A simulated client: it posts something now and then in one or two rooms, and remembers what it posted and saw.

This module owns the thread that posts, and the client's memory. Another thread, one for all clients, calls `hear`;
other threads may read the memory at any time. It must never help the client that it drives: it posts each thing once,
and takes records as they come.
"""

from __future__ import annotations

import random
import threading
from array import array
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from parlour.chaos.json_client import Acknowledged, JsonClient
from parlour.chaos.library_client import LibraryClient
from parlour.chaos.marks import marked
from parlour.chaos.records import Record, SentPost
from parlour.chaos.requests import ClientPlan
from parlour.chaos.view import Shown
from parlour.client.errors import NodeError
from parlour.client.events import Message
from parlour.runtime.threads import join_all, spawn
from parlour.wire.errors import ParlourError
from parlour.wire.records import EDIT, GONE, REACT, REDACT, SAID, UTTERANCES

__all__ = ["Membership", "SimulatedClient"]

ENTERING = 30.0
"""Seconds within which a client must have connected, and again for each room that it joins."""

ENDING = 15.0
"""Seconds within which a client's threads must have ended."""

WORDS = ("so", "the", "ship", "went", "down", "at", "noon", "and", "nobody", "saw", "it", "ünd", "船")

REACTIONS = ("👍", "❤️", "ship")

REPLY = "reply"

WEIGHTS = {SAID: 68, REPLY: 8, EDIT: 8, REDACT: 8, REACT: 8}
"""How often a client wants to post each kind. If there is nothing to refer to, it posts a plain text instead."""


class Membership:
    """A client's memory of one room."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.times = array("d")  # when each record came, in seconds since the Unix epoch
        self.posts: list[_Pending] = []
        self.texts: list[int] = []  # offsets of texts that may be answered
        self.deleted: set[int] = set()  # offsets of records that are known to be deleted

    def take(self, record: Record, time: float) -> None:
        """Remember a record that came at this time (seconds since the Unix epoch)."""
        self.records.append(record)
        self.times.append(time)
        if record.kind in UTTERANCES:
            self.texts.append(record.offset)
        elif record.kind == REDACT:
            self.deleted.add(record.ref)
        elif record.kind == GONE:
            self.deleted.add(record.offset)

    def mine(self, kinds: frozenset[str]) -> list[int]:
        """Return the offsets of the client's own records of these kinds that are not deleted."""
        logged = [post.logged.offset for post in self.posts if post.kind in kinds and post.logged is not None]
        return [offset for offset in logged if offset not in self.deleted]


@dataclass
class _Pending:
    by: str
    text: str
    kind: str
    ref: int
    answer: Future[Message] | Future[Acknowledged] | None = None

    @property
    def error(self) -> BaseException | None:
        """Why the post failed; None if it has not failed."""
        return self.answer.exception() if self.answer is not None and self.answer.done() else None

    @property
    def refused(self) -> bool:
        """Whether the node refused it because of the record that it refers to."""
        return isinstance(self.error, NodeError) and self.error.code == "bad_ref"

    @property
    def logged(self) -> Message | Acknowledged | None:
        """The acknowledgement; None if there is none."""
        answer = self.answer
        return answer.result() if answer is not None and answer.done() and answer.exception() is None else None

    def said(self) -> SentPost:
        """Return the post, with its acknowledgement if there is one."""
        post = SentPost(self.by, self.text, self.kind, self.ref, refused=self.refused)
        return post if self.logged is None else post._replace(id=self.logged.id, offset=self.logged.offset)


class SimulatedClient:
    """A client that follows a plan. The plan's seed alone decides its pauses, and what it wants to post.

    Attributes:
        name: the client's name.
        rooms: its memory of each room.
    """

    def __init__(
        self, plan: ClientPlan, brokers: Sequence[str], nodes: Mapping[str, str], records: dict[Record, Record]
    ) -> None:
        """Prepare a client of the cluster with these brokers, and with nodes at these addresses, by name.

        `records` holds each record once for all clients of a process, since they remember the same ones.
        """
        self.name = plan.name
        self.rooms = {room: Membership() for room in plan.rooms}
        self._pause = plan.pause
        self._chance = random.Random(plan.seed)
        self._records = records
        self._client: LibraryClient | JsonClient
        if plan.door is None:
            self._client = LibraryClient(plan.name, plan.rooms, brokers)
        else:
            self._client = JsonClient(plan.name, plan.rooms, plan.door, brokers, nodes)
        self._thread: threading.Thread | None = None

    @property
    def node(self) -> str | None:
        """The name of the current node, or of the last one; None before it entered."""
        return self._client.node

    @property
    def returns(self) -> int:
        """How often it came back after a loss."""
        return self._client.returns

    def enter(self) -> None:
        """Connect and join the rooms; raises ParlourError."""
        self._client.start(ENTERING)

    def talk(self, until: threading.Event) -> None:
        """Begin to post; stop when the event is set."""
        self._thread = spawn(f"{self.name}-talks", self._talk, until)

    def hear(self) -> None:
        """Remember the records that came since the last call; one thread at a time calls this."""
        for room, record, time in self._client.take():
            self.rooms[room].take(self._records.setdefault(record, record), time)

    def shown(self, room: str) -> dict[int, Shown] | None:
        """Return how the library shows the last records of a room; None if the client does not use it."""
        return self._client.shown(room) if isinstance(self._client, LibraryClient) else None

    def close(self) -> None:
        """Disconnect and join the threads; raises StuckThreadError if they do not end."""
        self._client.stop(ENDING)
        if self._thread is not None:
            join_all([self._thread], ENDING)

    @property
    def waiting(self) -> bool:
        """Whether it may still post, or waits for an acknowledgement."""
        if self._thread is not None and self._thread.is_alive():
            return True
        posts = [post for membership in self.rooms.values() for post in membership.posts]
        return any(post.answer is not None and not post.answer.done() for post in posts)

    def troubles(self) -> list[str]:
        """Return what went wrong, a line each: failed posts, and troubles of rooms."""
        found = [f"{self.name} in {room}: {trouble}" for room, trouble in self._client.troubles]
        for name, membership in self.rooms.items():
            for post in membership.posts:
                if post.error is not None and not post.refused:
                    found.append(f"{self.name} in {name}: {type(post.error).__name__}: {post.error}")
        return found

    def _talk(self, until: threading.Event) -> None:
        """Post for one client, with random pauses, until the event is set."""
        number = 0
        while not until.wait(self._chance.expovariate(1 / self._pause)):
            number += 1
            room = self._chance.choice(list(self.rooms))
            # Draw everything each time, so that later draws do not depend on what is possible now.
            (meant,) = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            place, reaction = self._chance.random(), self._chance.choice(REACTIONS)
            words = self._chance.choices(WORDS, k=self._chance.randrange(12))
            post = self._draft(self.rooms[room], meant, place, reaction, marked(self.name, number, words))
            self.rooms[room].posts.append(post)
            try:
                post.answer = self._client.post(room, post.text, post.kind, post.ref)
            except ParlourError as error:
                self._client.troubles.append((room, f"{type(error).__name__}: {error}"))

    def _draft(self, membership: Membership, meant: str, place: float, reaction: str, text: str) -> _Pending:
        """Return a post of the kind that is meant, about a record that `place` chooses, or else a plain text."""
        match meant:
            case "edit":
                ref = _recent(membership.mine(UTTERANCES), place)
            case "redact":
                ref = _recent(membership.mine(UTTERANCES | {EDIT, REACT}), place)
            case "reply" | "react":
                ref = _recent(membership.texts, place)
            case _:
                ref = 0
        if meant == REPLY:
            return _Pending(self.name, text, SAID, ref)
        again = meant == REACT and any(each.ref == ref and each.text == reaction for each in membership.posts)
        if not ref or ref in membership.deleted or again:
            return _Pending(self.name, text, SAID, 0)
        if meant == REDACT:
            membership.deleted.add(ref)
        return _Pending(self.name, reaction if meant == REACT else text, meant, ref)


def _recent(offsets: Sequence[int], place: float) -> int:
    """Return the offset that `place` (from 0 to 1) chooses, most often one of the last; 0 if there is none."""
    return offsets[-1 - int(len(offsets) * place**3)] if offsets else 0
