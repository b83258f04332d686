"""The process of a round's people with accounts: who they are, and what they remember.

This module owns the people and the roles that they have in their room. The main thread answers the round's requests.
It must never let the people begin before all of them are in.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from parlour.chaos.eavesdropper import Eavesdropper
from parlour.chaos.exchange import serve
from parlour.chaos.json_person import JsonPerson
from parlour.chaos.library_client import record_of
from parlour.chaos.newcomers import READING, read_log
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
from parlour.client.events import Message
from parlour.wire import messages as wire
from parlour.wire.errors import ParlourError

__all__ = ["MEMBERS", "Conversation", "Court", "PeopleMemories", "PeopleProcess", "difference"]

MEMBERS = 8
"""People who talk in the room with rights, two of them moderators; each two talk alone as well."""

STUCK = 4.0
"""Seconds without a new record for anybody after which missing records count as lost."""


class Court(msgspec.Struct, frozen=True):
    """The room with rights: what was said in it, and its log at the end."""

    said: list[SentPost]
    """The posts of all people, with the answers that they got."""
    log: list[wire.Message]
    denied: list[str]
    """The texts of posts that were refused, and were sent over one connection alone: the log cannot have them."""
    differing: list[str]
    """The first record that a person received differently from the log, a line for each such person."""


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
    trespasses: list[str]
    """Each success of the spy or the eavesdropper, a line each; parlour must let them have none."""
    troubles: list[str]


class PeopleProcess:
    """The people of this process."""

    def __init__(self) -> None:
        self._quiet = threading.Event()
        self._leaving = threading.Event()
        self._password = secrets.token_urlsafe(16)
        self._brokers: list[str] = []
        self._people: list[Person] = []
        self._spy: Spy | None = None
        self._eavesdropper: Eavesdropper | None = None

    def do(self, request: Request) -> Answer:
        """Do what a request asks for, and return the answer; raises ParlourError."""
        match request:
            case EnterPeople():
                self._enter(request)
            case StartTalking():
                for person in (*self._people, self.spy):
                    person.begin(self._quiet, self._leaving)
                self.eavesdropper.start()
            case StopTalking():
                self._quiet.set()
                self.eavesdropper.stop()
            case AskProgress():
                return Progress(sum(person.waiting for person in self._people), {}, {})
            case Save():
                Path(request.file).write_bytes(msgspec.msgpack.encode(self._remember()))
            case LeaveCluster():
                self._leaving.set()
                for person in (*self._people, self.spy):
                    person.close()
            case _:
                raise ParlourError(f"people cannot do this: {request}")
        return Done()

    def _enter(self, request: EnterPeople) -> None:
        self._brokers = request.brokers
        names = [f"{request.prefix}p{number}" for number in range(1, MEMBERS + 1)]
        for number, name in enumerate(names):
            plan = name, names[number ^ 1], f"{request.prefix}court", request.brokers, f"{request.seed} {name}"
            if number < 2:
                self._people.append(Moderator(*plan, targets=names[2:]))
            elif number % 2:
                self._people.append(JsonPerson(*plan, request.nodes))
            else:
                self._people.append(Person(*plan))
            self._people[-1].register(self._password, by_token=number >= MEMBERS // 2)
        for person in self._people:  # the first founds the room
            person.enter()
        first, second = self._people[:2]
        first.court.give_role(second.name, "operator")
        pairs = [person.private for person in self._people[::2]]
        self._spy = Spy(f"{request.prefix}spy", request.brokers, f"{request.seed} spy", pairs, names)
        self._spy.enter()
        self._eavesdropper = Eavesdropper(f"{request.prefix}ears", request.nodes, pairs, f"{request.seed} ears")

    @property
    def spy(self) -> Spy:
        """The spy, once all have entered."""
        assert self._spy is not None
        return self._spy

    @property
    def eavesdropper(self) -> Eavesdropper:
        """The eavesdropper, once all have entered."""
        assert self._eavesdropper is not None
        return self._eavesdropper

    def _remember(self) -> PeopleMemories:
        court = self._read(self._people[0], self._people[0].room_name, _last(_remarks(self._people)))
        pairs = list(zip(self._people[::2], self._people[1::2], strict=True))
        logs = [self._read(one, one.private, _last([*one.asides, *other.asides])) for one, other in pairs]
        whole = [person for person in self._people if isinstance(person, Moderator)]
        self._hear_out(
            [
                *((person.seen, _top(court)) for person in whole),
                *((person.heard, _top(log)) for pair, log in zip(pairs, logs, strict=True) for person in pair),
            ]
        )
        conversations = [
            Conversation(
                f"{one.name} and {other.name}",
                _said([*one.asides, *other.asides]),
                {person.name: list(person.heard) for person in (one, other)},
                [record_of(message) for message in log],
            )
            for (one, other), log in zip(pairs, logs, strict=True)
        ]
        records = [record_of(message) for message in court]
        views = {person.name: difference(person.seen, records, person in whole) for person in self._people}
        return PeopleMemories(
            len(self._people),
            Court(
                _said(_remarks(self._people)),
                [_message(message) for message in court],
                [remark.text for remark in _remarks(self._people) if remark.denied],
                [f"{name} saw {found}" for name, found in views.items() if found],
            ),
            conversations,
            [*self.spy.trespasses, *self.eavesdropper.overheard],
            [line for person in self._people for line in person.troubles],
        )

    def _hear_out(self, views: Sequence[tuple[Sequence[Record], int]]) -> None:
        """Wait until each view has the record at its offset, or until no view gets a new one any more."""
        grown, deadline = 0, time.monotonic() + STUCK
        while any(top and (not view or view[-1].offset < top) for view, top in views):
            if (size := sum(len(view) for view, _ in views)) > grown:
                grown, deadline = size, time.monotonic() + STUCK
            if self._leaving.wait(0.05) or time.monotonic() >= deadline:
                break

    def _read(self, person: Person, room: str, last: int) -> list[Message]:
        """Return the whole log of a room of a person, at least up to the offset `last`; raises ParlourError."""
        enter = partial(connect, self._brokers, person.name, timeout=READING, password=self._password)
        return read_log(enter, room, last, self._leaving)


def difference(view: Sequence[Record], log: Sequence[Record], whole: bool) -> str:
    """Return where a view of a log differs from it, in words; empty if it does not.

    A view begins behind what was logged before, and lacks the end unless it is `whole`, as its owner was shown out.
    """
    first = next((place for place, record in enumerate(log) if view and record.offset == view[0].offset), 0)
    rest = log[first:]
    for record, logged in zip(view, rest, strict=False):
        if record != logged:
            return f"{record}, but the log has {logged}"
    if len(view) > len(rest):
        return f"{view[len(rest)]}, which is not in the log"
    if whole and len(view) < len(rest):
        return f"nothing of {len(rest) - len(view)} records from {rest[len(view)]} on"
    return ""


def _remarks(people: Sequence[Person]) -> list[Remark]:
    return [remark for person in people for remark in person.remarks]


def _last(remarks: Sequence[Remark]) -> int:
    """Return the highest offset that was acknowledged."""
    return max((remark.logged.offset for remark in remarks if remark.logged is not None), default=0)


def _top(log: Sequence[Message]) -> int:
    return log[-1].offset if log else 0


def _said(remarks: Sequence[Remark]) -> list[SentPost]:
    said = []
    for remark in remarks:
        post = SentPost(remark.by, remark.text, refused=remark.refused)
        said.append(post if (logged := remark.logged) is None else post._replace(id=logged.id, offset=logged.offset))
    return said


def _message(heard: Message) -> wire.Message:
    """Return a record as the node sent it."""
    return wire.Message(
        heard.room,
        heard.offset,
        heard.id,
        heard.by,
        heard.at,
        heard.text,
        heard.kind,
        heard.ref,
        heard.account,
        dict(heard.data),
    )


if __name__ == "__main__":
    serve(PeopleProcess().do)
