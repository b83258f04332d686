"""People with accounts: they talk in a room with rights and alone with each other, moderate, come back, and spy.

This module owns their chats, and what they remember. Each has a thread of its own; other threads may read the memories
once it has ended. They must never help parlour: they say each thing once, and a refusal is an answer.
"""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from parlour.chaos.json_client import Acknowledged
from parlour.chaos.library_client import ANSWERED, record_of
from parlour.chaos.records import Record
from parlour.client.chat import Chat, connect
from parlour.client.errors import DeadlineError, DisconnectedError, NodeError
from parlour.client.events import Changed, Disconnected, Message
from parlour.client.room import Room
from parlour.runtime.threads import join_all, spawn
from parlour.wire.direct import account_identity, direct_room
from parlour.wire.errors import ParlourError

__all__ = ["ENDING", "ENTERING", "WHISPER", "Answered", "Moderator", "Person", "Remark", "Spy"]

Answered = Future[Message] | Future[Acknowledged]
"""The future answer to a post, of the library or of JSON lines."""

ENTERING = 30.0
"""Seconds within which a person must have connected, and again for each room that it joins."""

TRYING = 5.0
"""Seconds for an attempt that may fail."""

ENDING = 30.0
"""Seconds within which a person's thread must have ended."""

PAUSE = 0.05
"""Seconds between two things that a person does, on average."""

ON_THE_WAY = 4
"""Remarks of a person that are on their way at a time: one that a ban meets there shows whether it holds strictly."""

ASIDE = 0.2
"""The probability that a person also posts in private then."""

ACTS = ("ban", "mute", "unban", "unmute", "unban", "unmute", "kick", "voice", "devoice")
"""The acts from which a moderator chooses; `unban` and `unmute` stand twice, so they are twice as likely."""

WHISPER = "psst"
"""A word that is in each private text, and in no other: who receives it has received a private text."""

SANCTION = 60.0
"""Seconds that some bans and mutes last, at most."""


@dataclass
class Remark:
    """Something that a person said, and what becomes of it."""

    by: str
    text: str
    answer: Answered
    sure: bool = False
    """Whether the log cannot have a refused post: it was sent over one connection alone."""

    @property
    def open(self) -> bool:
        """Whether it is not answered yet."""
        return not self.answer.done()

    @property
    def logged(self) -> Message | Acknowledged | None:
        """The record that it became, if that was acknowledged."""
        return self.answer.result() if not self.open and self.answer.exception() is None else None

    @property
    def refused(self) -> bool:
        """Whether it was refused, or its sender was shown out before it was answered."""
        error = None if self.open else self.answer.exception()
        return error is not None and not isinstance(error, DeadlineError)

    @property
    def denied(self) -> bool:
        """Whether the node refused it in such a way that the log cannot have it."""
        return self.sure and not self.open and isinstance(self.answer.exception(), NodeError)


class Person:
    """A person with an account, in a room with rights and perhaps in a private conversation.

    Attributes:
        name: the name of the account.
        remarks: what it said in the room with rights.
        asides: what it said in private.
        heard: the records of the private conversation, as they came.
        seen: the records of the room with rights, as they came since the person was last let in anew.
        troubles: what went wrong, a line each.
    """

    def __init__(self, name: str, partner: str, room: str, brokers: list[str], seed: str) -> None:
        """Prepare a person that talks alone with `partner`, or with nobody if that is empty."""
        self.name = name
        self.remarks: list[Remark] = []
        self.asides: list[Remark] = []
        self.heard: list[Record] = []
        self.seen: list[Record] = []
        self.troubles: list[str] = []
        self.partner = partner
        self.room_name = room
        self.chance = random.Random(seed)
        self._brokers = brokers
        self._chat: Chat | None = None
        self._court: Room | None = None
        self._private: Room | None = None
        self._thread: threading.Thread | None = None

    def register(self, password: str, by_token: bool) -> None:
        """Connect, and make an account with this password; raises ParlourError.

        From now on the person signs in with the password, or with the token of a device.
        """
        self._chat = connect(self._brokers, self.name, timeout=ENTERING)
        self._chat.register(password)
        if by_token:
            self._chat.sign_in_with(password="", token=self._chat.new_token("chaos"))

    @property
    def chat(self) -> Chat:
        """The connection; call `register` before."""
        assert self._chat is not None
        return self._chat

    @property
    def court(self) -> Room:
        """The room with rights; raises ParlourError if the person is not let in."""
        if self._court is None:
            self._court = self.chat.join(self.room_name, timeout=TRYING)
        return self._court

    @property
    def private(self) -> str:
        """The name of the room of the private conversation."""
        return direct_room(account_identity(self.name), account_identity(self.partner))

    def enter(self) -> None:
        """Join the rooms; raises ParlourError."""
        self._court = self.chat.join(self.room_name, timeout=ENTERING)
        if self.partner:
            self._private = self.chat.direct(self.partner, timeout=ENTERING)
            if self._private.name != self.private:
                raise ParlourError(f"{self.name} talks with {self.partner} in {self._private.name}")

    def begin(self, quiet: threading.Event, leaving: threading.Event) -> None:
        """Begin to act, until `quiet` is set; hear what comes until `leaving` is set."""
        self._thread = spawn(f"{self.name}-lives", self._live, quiet, leaving)

    @property
    def waiting(self) -> bool:
        """Whether something that it said is not answered yet."""
        return any(remark.open for remark in (*self.remarks, *self.asides))

    def close(self) -> None:
        """Disconnect, when `leaving` is set; raises StuckThreadError if the thread does not end."""
        if self._thread is not None:
            join_all([self._thread], ENDING)
        if self._chat is not None:
            self._chat.close()

    def _live(self, quiet: threading.Event, leaving: threading.Event) -> None:
        """Do something now and then, and take what comes."""
        while not leaving.wait(self.chance.uniform(0.5, 1.5) * PAUSE):
            with suppress(ParlourError):  # a refusal is an answer, and a loss of the connection is part of the round
                self._listen()
                if not quiet.is_set():
                    self.act()
        self._listen()

    def _listen(self) -> None:
        for event in () if self._private is None else self._private.events(timeout=0):
            if isinstance(event, Message | Changed):
                self.heard.append(record_of(event))
            elif isinstance(event, Disconnected):
                self.troubles.append(f"{self.name} was cut off from {self.partner}: {event.reason}")
                self._private = None
        for event in () if self._court is None else self._court.events(timeout=0):
            if isinstance(event, Message | Changed):
                self.seen.append(record_of(event))
            elif isinstance(event, Disconnected):
                self._court, self.seen = None, []  # shown out: it tries to come back

    def act(self) -> None:
        """Say something in private, perhaps, and in the room; raises ParlourError if that is not possible."""
        if self.chance.random() < ASIDE:
            self.asides.append(self.say(self.private, f"{self.name} {len(self.asides) + 1}: {WHISPER}"))
        for _ in range(ON_THE_WAY - sum(remark.open for remark in self.remarks[-ON_THE_WAY:])):
            self.remarks.append(self.say(self.room_name, f"{self.name} {len(self.remarks) + 1}: hear, hear"))

    def say(self, room: str, text: str) -> Remark:
        """Say something in one of the two rooms; raises ParlourError if the person is not in it."""
        joined = self.court if room == self.room_name else self._private
        if joined is None:
            raise DisconnectedError(f"{self.name} is not in {room}")
        return Remark(self.name, text, joined.post(text, ANSWERED))


class Moderator(Person):
    """A person who bans, mutes, kicks, pardons and gives voice, and says little."""

    def __init__(self, name: str, partner: str, room: str, brokers: list[str], seed: str, targets: list[str]) -> None:
        """Prepare a person that does this to people of these names."""
        super().__init__(name, partner, room, brokers, seed)
        self._targets = targets

    def act(self) -> None:
        """Do one act to one person, chosen at random, and say something."""
        room, what, who = self.court, self.chance.choice(ACTS), self.chance.choice(self._targets)
        seconds = self.chance.choice((0.0, self.chance.uniform(1.0, SANCTION)))
        match what:
            case "ban" | "mute":
                (room.ban if what == "ban" else room.mute)(who, seconds)
            case "unban" | "unmute":
                (room.unban if what == "unban" else room.unmute)(who)
            case "kick":
                room.kick(who)
            case _:
                room.give_role(who, "voice" if what == "voice" else "")
        super().act()


class Spy(Person):
    """A guest who tries to come into private conversations, to find them, and to take the names of others.

    Attributes:
        trespasses: each success, a line each; parlour must let it have none.
    """

    def __init__(self, name: str, brokers: list[str], seed: str, pairs: list[str], victims: list[str]) -> None:
        """Prepare a guest that tries the rooms of the private conversations, and the names of the accounts."""
        super().__init__(name, "", "", brokers, seed)
        self._pairs = pairs
        self._victims = victims
        self.trespasses: list[str] = []

    def enter(self) -> None:
        """Connect as a guest; raises ParlourError."""
        self._chat = connect(self._brokers, self.name, timeout=ENTERING)

    def act(self) -> None:
        """Try one thing that is forbidden."""
        match self.chance.choice(("join", "list", "name")):
            case "join":
                room = self.chance.choice(self._pairs)
                self.chat.join(room, history=100, timeout=TRYING).leave()
                self.trespasses.append(f"{self.name} came into the private conversation {room}")
            case "list":
                found = {str(room["name"]) for room in self.chat.listed_rooms()} & set(self._pairs)
                self.trespasses += [f"{self.name} found the private conversation {room}" for room in found]
            case _:
                victim = self.chance.choice(self._victims)
                connect(self._brokers, victim, timeout=TRYING).close()
                self.trespasses.append(f"{self.name} took the name {victim}")
