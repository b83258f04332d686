"""The process of a round's people with accounts: who they are, and what they remember.

This module owns the people and the roles that they have in their room. The main thread answers the round's requests.
It must never let the people begin before all of them are in.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from parlour.chaos.exchange import serve
from parlour.chaos.people import Moderator, Person, Remark, Spy
from parlour.chaos.records import Record, SentPost
from parlour.chaos.requests import (
    Answer,
    AskProgress,
    Done,
    EnterPeople,
    LeaveCluster,
    Progress,
    Request,
    Save,
    StartTalking,
    StopTalking,
)
from parlour.client.chat import connect
from parlour.client.events import Changed
from parlour.client.events import Message as Heard
from parlour.wire.errors import ParlourError
from parlour.wire.messages import Message

__all__ = ["MEMBERS", "Conversation", "Court", "PeopleMemories", "PeopleProcess"]

MEMBERS = 8
"""People who talk in the room with rights, two of them moderators; each two talk alone as well."""

READING = 20.0
"""Seconds without a new record after which a reader of a log stops."""

ALL = 2**53 - 1
"""More old records than a room can have."""


class Court(msgspec.Struct, frozen=True):
    """The room with rights: what was said in it, and its log at the end."""

    said: list[SentPost]
    log: list[Message]


class Conversation(msgspec.Struct, frozen=True):
    """A private conversation: what was said in it, what each of the two saw, and its log at the end."""

    name: str
    """The names of the two."""
    said: list[SentPost]
    seen: dict[str, list[Record]]
    log: list[Record]


class PeopleMemories(msgspec.Struct, frozen=True):
    """Everything that the people remember."""

    accounts: int
    court: Court
    conversations: list[Conversation]
    refusals: dict[str, int]
    """How often something was refused, by the code of the error."""
    trespasses: list[str]
    """What somebody could do and should not, a line each."""
    troubles: list[str]


class PeopleProcess:
    """The people of this process."""

    def __init__(self) -> None:
        self._quiet = threading.Event()
        self._leaving = threading.Event()
        self._password = secrets.token_urlsafe(16)
        self._brokers: list[str] = []
        self._people: list[Person] = []
        self._spies: list[Spy] = []

    def do(self, request: Request) -> Answer:
        """Do what a request asks for, and return the answer; raises ParlourError."""
        match request:
            case EnterPeople():
                self._enter(request)
            case StartTalking():
                for person in (*self._people, *self._spies):
                    person.begin(self._quiet, self._leaving)
            case StopTalking():
                self._quiet.set()
            case AskProgress():
                return Progress(sum(person.waiting for person in self._people), {}, {})
            case Save():
                Path(request.file).write_bytes(msgspec.msgpack.encode(self._remember()))
            case LeaveCluster():
                self._leaving.set()
                for person in (*self._people, *self._spies):
                    person.close()
            case _:
                raise ParlourError(f"people cannot do this: {request}")
        return Done()

    def _enter(self, request: EnterPeople) -> None:
        self._brokers = request.brokers
        names = [f"{request.prefix}p{number}" for number in range(1, MEMBERS + 1)]
        for number, name in enumerate(names):
            kind = Moderator if number < 2 else Person
            partner = names[number ^ 1]
            self._people.append(
                kind(name, partner, f"{request.prefix}court", request.brokers, f"{request.seed} {name}")
            )
            self._people[-1].register(self._password)
        for person in self._people:  # the first founds the room
            person.enter()
        first, second = self._people[:2]
        first.court.give_role(second.name, "operator")
        for person in (first, second):
            assert isinstance(person, Moderator)
            person.targets = names[2:]
        spy = Spy(f"{request.prefix}spy", request.brokers, f"{request.seed} spy")
        spy.pairs = [person.private for person in self._people[::2]]
        spy.victims = names
        spy.enter()
        self._spies.append(spy)

    def _remember(self) -> PeopleMemories:
        court = self._read(self._people[0], self._people[0].room_name, _last(_remarks(self._people)))
        conversations = []
        for pair in zip(self._people[::2], self._people[1::2], strict=True):
            asides = [aside for person in pair for aside in person.asides]
            log = [_record(message) for message in self._read(pair[0], pair[0].private, _last(asides))]
            self._hear_out(pair, log)
            name = " and ".join(person.name for person in pair)
            seen = {person.name: list(person.heard) for person in pair}
            conversations.append(Conversation(name, _said(asides), seen, log))
        everybody = [*self._people, *self._spies]
        refusals: dict[str, int] = {}
        for person in everybody:
            for code, count in person.refusals.items():
                refusals[code] = refusals.get(code, 0) + count
        return PeopleMemories(
            len(self._people),
            Court(_said(_remarks(self._people)), court),
            conversations,
            refusals,
            [line for spy in self._spies for line in spy.trespasses],
            [line for person in everybody for line in person.troubles],
        )

    def _hear_out(self, pair: Sequence[Person], log: Sequence[Record]) -> None:
        """Wait until both have seen the last record of their conversation, for a while."""
        deadline = time.monotonic() + READING
        top = log[-1].offset if log else 0
        while any(top and (not person.heard or person.heard[-1].offset < top) for person in pair):
            if self._leaving.wait(0.05) or time.monotonic() >= deadline:
                break

    def _read(self, person: Person, room: str, last: int) -> list[Message]:
        """Return the whole log of a room of a person, at least up to the offset `last`; raises ParlourError."""
        deadline = time.monotonic() + READING
        while True:
            log: list[Message] = []
            with connect(self._brokers, person.name, timeout=READING, password=self._password) as chat:
                joined = chat.join(room, history=ALL, timeout=READING)
                events = joined.events(READING)
                while len(log) < joined.replays and (event := next(events, None)) is not None:
                    if isinstance(event, Heard | Changed):
                        log.append(_message(event.record if isinstance(event, Changed) else event))
            if (log[-1].offset if log else 0) >= last or time.monotonic() >= deadline:
                return log


def _remarks(people: Sequence[Person]) -> list[Remark]:
    return [remark for person in people for remark in person.remarks]


def _last(remarks: Sequence[Remark]) -> int:
    """Return the highest offset that was acknowledged."""
    return max((remark.logged.offset for remark in remarks if remark.logged is not None), default=0)


def _said(remarks: Sequence[Remark]) -> list[SentPost]:
    said = []
    for remark in remarks:
        post = SentPost(remark.by, remark.text, refused=remark.refused)
        said.append(post if (logged := remark.logged) is None else post._replace(id=logged.id, offset=logged.offset))
    return said


def _message(heard: Heard) -> Message:
    """Return a record as the node sent it."""
    return Message(
        heard.room,
        heard.offset,
        heard.id,
        heard.by,
        heard.at,
        heard.text,
        heard.kind,
        heard.ref or 0,
        heard.account,
        dict(heard.data),
    )


def _record(message: Message) -> Record:
    return Record(message.offset, message.id, message.by, message.at, message.text, message.kind, message.ref)


if __name__ == "__main__":
    serve(PeopleProcess().do)
