"""The lines of a room: old messages as they are now, then each event, and never a deleted text."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from parlour.client.display import Lines
from parlour.client.events import Message, Presence, Restarted
from parlour.client.fold import Fold
from parlour.client.roomview import RoomView
from parlour.wire.records import EDIT, GONE, GONE_TEXT, REACT, REDACT
from support.named import Named


@dataclass
class Place:
    """A room with ada and bob, and the messages known there."""

    replays: int = 0
    name: str = "lobby"
    members: list[str] = field(default_factory=lambda: ["ada", "bob"])
    count: int = 2
    fold: Fold = field(default_factory=Fold)

    def message(self, offset: int) -> Message | None:
        """Return the message at this offset as it is now."""
        return self.fold.message(offset)


HERE = "-- 2 in lobby: ada, bob"


def record(offset: int, text: str, kind: str = "", ref: int = 0, by: str = "ada", replay: bool = False) -> Message:
    """Return a record whose time is shown as ??:??."""
    return Message("lobby", offset, f"{by}-{offset}", by, 2**60, text, replay, kind=kind, ref=ref)


def shown(place: Place, *records: Message, view: RoomView | None = None) -> list[str]:
    """Return the lines of these records, as ada sees them."""
    view = view or RoomView(place, Lines(colour=False, reader=Named("ada")))
    lines = view.begin() if not place.fold.messages() else []
    for each in records:
        lines += view.take(place.fold.add(each), several=False)
    return [line.replace("??:?? ", "") for line in lines]


def test_old_messages_are_shown_as_they_are_now() -> None:
    """Old edits, reactions and deletions give no lines of their own."""
    past = [
        record(10, "+1", REACT, 3, "bob", replay=True),
        record(11, "helo", replay=True),
        record(12, "secret", replay=True),
        record(13, "yes", "", 11, "bob", replay=True),
        record(14, "hello", EDIT, 11, replay=True),
        record(15, "+1", REACT, 11, "bob", replay=True),
        record(16, "", REDACT, 12, replay=True),
        record(17, GONE_TEXT, GONE, replay=True),
    ]
    place = Place(replays=len(past))
    view = RoomView(place, Lines(colour=False, reader=Named("ada")))
    assert shown(place, *past[:-1], view=view) == []
    assert shown(place, past[-1], view=view) == ["ada: hello (edited) [+1 bob]", 'bob (to ada: "hello"): yes', HERE]
    assert view.oldest == 10


def test_old_messages_come_before_members() -> None:
    """The members are listed after the old messages, and only later changes are shown."""
    place, came = Place(replays=1), Presence("lobby", ("bob",), (), 2)
    view = RoomView(place, Lines(colour=False))
    assert view.begin() == view.take(came, several=False) == []
    assert shown(place, record(1, "hello", replay=True), view=view) == ["ada: hello", HERE]
    assert view.take(came, several=False) == ["-- bob came (2 here)"]


def test_events_are_lines() -> None:
    """Each change is a line when it comes."""
    lines = shown(
        Place(),
        record(1, "helo"),
        record(2, "hello", EDIT, 1),
        record(3, "+1", REACT, 1, "bob"),
        record(4, "no", EDIT, 1, "bob"),
        record(5, "", REDACT, 1),
    )
    expected = [
        HERE,
        "ada: helo",
        "-- ada edited #1 (??:??): hello",
        '-- bob: +1 to ada\'s "hello"',
        "-- ada deleted #1",
    ]
    assert [line.removesuffix(" (??:??)") for line in lines] == expected


def test_a_message_that_comes_deleted_is_not_shown() -> None:
    """Nor is its deletion, as the person never saw the message."""
    lines = shown(Place(), record(1, GONE_TEXT, GONE), record(2, "", REDACT, 1), record(3, "hello"))
    assert lines == [HERE, "ada: hello"]


@pytest.mark.parametrize("first", [record(2, "new"), Restarted("lobby", "e2", 1)])
def test_an_incomplete_past_is_shown(first: Message | Restarted) -> None:
    """Another event comes before the last old record."""
    place = Place(replays=5)
    view = RoomView(place, Lines(colour=False))
    assert shown(place, record(1, "old", replay=True), view=view) == []
    lines = shown(place, first, view=view) if isinstance(first, Message) else view.take(first, several=False)
    assert [line.replace("??:?? ", "") for line in lines[:2]] == ["ada: old", HERE]
    assert len(lines) == 3


def test_the_bell_rings_for_answers() -> None:
    """For new answers to messages of the reader."""
    hello, reply = record(1, "hello"), record(2, "yes", "", 1, "bob")
    assert shown(Place(), hello, reply)[-1].startswith("\a")
    assert not shown(Place(), record(1, "hello", by="cyd"), reply)[-1].startswith("\a")


def test_a_page_may_be_numbered() -> None:
    """It has no deleted messages, and its answers quote messages of the page."""
    view = RoomView(Place(), Lines(colour=False))
    page = [record(1, "hello"), record(2, GONE_TEXT, GONE), record(3, "yes", "", 1, "bob")]
    lines = [line.replace("??:?? ", "") for line in view.page(page, numbered=True)]
    assert lines == ["#1 ada: hello", '#3 bob (to ada: "hello"): yes']
