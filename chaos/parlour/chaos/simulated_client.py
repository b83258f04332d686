"""One client: in a room or two, saying something now and then, remembering all it said and saw.

This module owns the thread on which a client talks, and what the client remembers; another thread, one for all clients,
has it take what there is to hear. What it remembers may be read by others at any time. It must never help the library:
it says a thing once, and takes what comes as it comes.
"""

from __future__ import annotations

import random
import threading
import time
from array import array
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from parlour.chaos.records import Post, Record
from parlour.client.chat import Chat, connect
from parlour.client.events import Disconnected, Event, Message, Reconnected, Restarted
from parlour.client.room import Room
from parlour.runtime.threads import join_all, spawn
from parlour.wire.errors import ParlourError

__all__ = ["Membership", "SimulatedClient"]

ENTERING = 30.0
"""Seconds that a client has to come in, and again to join each room."""

ANSWERED = 60.0
"""Seconds that a post has to be acknowledged: longer than any fault lasts, and another one that follows it."""

ENDING = 10.0
"""Seconds that a client's threads have to end."""

WORDS = ("so", "the", "ship", "went", "down", "at", "noon", "and", "nobody", "saw", "it", "ünd", "船")


class Membership:
    """What a client remembers of one room."""

    def __init__(self) -> None:
        self.lines: list[Record] = []
        self.times = array("d")  # of each line, in seconds since the Unix epoch
        self.posts: list[_Pending] = []
        self.room: Room | None = None  # none before it is joined
        self.returns = 0  # how often it was joined again
        self.troubles: list[str] = []

    def said(self) -> list[Post]:
        """Return the posts, each with its acknowledgement, if that has come."""
        return [post.said() for post in self.posts]


@dataclass
class _Pending:
    by: str
    text: str
    answer: Future[Message] | None = None

    def said(self) -> Post:
        answer = self.answer
        if answer is None or not answer.done() or answer.exception() is not None:
            return Post(self.by, self.text)
        message = answer.result()
        return Post(self.by, self.text, message.id, message.offset)


class SimulatedClient:
    """A client of this name in these rooms. Its pauses and words come from the seed alone.

    Attributes:
        rooms: what it remembers, by room.
    """

    def __init__(self, name: str, rooms: Sequence[str], pause: float, seed: str, lines: dict[Record, Record]) -> None:
        """Prepare a client that says something every `pause` seconds, on average.

        `lines` holds each line once for all clients: they remember the same ones, in millions.
        """
        self.name = name
        self.rooms = {room: Membership() for room in rooms}
        self._pause = pause
        self._chance = random.Random(seed)
        self._lines = lines
        self._chat: Chat | None = None
        self._joined: dict[str, Room] = {}
        self._thread: threading.Thread | None = None

    @property
    def node(self) -> str | None:
        """The node that it is connected to, or was last; None before it came in."""
        return None if self._chat is None else self._chat.node

    @property
    def returns(self) -> int:
        """How often it was connected again."""
        return next(iter(self.rooms.values())).returns

    def enter(self, brokers: Sequence[str]) -> None:
        """Enter in and join the rooms; raises as `connect` and `Chat.join` do."""
        self._chat = connect(brokers, self.name, room=next(iter(self.rooms)), timeout=ENTERING)
        for name, membership in self.rooms.items():
            membership.room = self._chat.join(name, timeout=ENTERING)

    def talk(self, until: threading.Event) -> None:
        """Begin to say things, until the event is set."""
        self._thread = spawn(f"{self.name}-talks", self._talk, until)

    def hear(self) -> None:
        """Take all that has come since; called by one thread at a time."""
        for membership in self.rooms.values():
            if membership.room is not None:
                for event in membership.room.events(timeout=0):
                    self._take(event, membership)

    def close(self) -> None:
        """Leave the cluster, and join the thread; raises StuckThreadError if it does not end."""
        if self._chat is not None:
            self._chat.close()
        if self._thread is not None:
            join_all([self._thread], ENDING)

    @property
    def waiting(self) -> bool:
        """Whether it may still say something, or waits for an acknowledgement."""
        if self._thread is not None and self._thread.is_alive():
            return True
        posts = [post for membership in self.rooms.values() for post in membership.posts]
        return any(post.answer is not None and not post.answer.done() for post in posts)

    def troubles(self) -> list[str]:
        """Return what went wrong, a line each: why posts failed, and what befell the rooms."""
        found: list[str] = []
        for name, membership in self.rooms.items():
            found += [f"{self.name} in {name}: {trouble}" for trouble in membership.troubles]
            for post in membership.posts:
                if post.answer is not None and post.answer.done() and (error := post.answer.exception()):
                    found.append(f"{self.name} in {name}: {type(error).__name__}: {error}")
        return found

    def _talk(self, until: threading.Event) -> None:
        """Post for one client, with random pauses, until the event is set."""
        number = 0
        while not until.wait(self._chance.expovariate(1 / self._pause)):
            number += 1
            name = self._chance.choice(list(self.rooms))
            room = self.rooms[name].room
            assert room is not None
            # Post once in all the round, so that it is known again wherever it turns up.
            text = " ".join([self.name, str(number), *self._chance.choices(WORDS, k=self._chance.randrange(12))])
            post = _Pending(self.name, text)
            self.rooms[name].posts.append(post)
            try:
                post.answer = room.post(text, ANSWERED)
            except ParlourError as error:
                self.rooms[name].troubles.append(f"{type(error).__name__}: {error}")

    def _take(self, event: Event, membership: Membership) -> None:
        if isinstance(event, Message):
            line = Record(event.offset, event.id, event.by, event.at, event.text)
            membership.lines.append(self._lines.setdefault(line, line))
            membership.times.append(time.time())
        elif isinstance(event, Reconnected):
            membership.returns += 1
        elif isinstance(event, Restarted):
            membership.troubles.append("it could not go on from its last message")
        elif isinstance(event, Disconnected):
            membership.troubles.append(f"cut off for good: {event.reason}")
