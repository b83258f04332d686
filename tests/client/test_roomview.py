"""What a person is shown of a room: the past as it is now, then what happens, and nothing that was deleted."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from parlour.client.display import Lines
from parlour.client.events import Message, Presence, Restarted
from parlour.client.fold import Fold
from parlour.client.roomview import RoomView
from parlour.wire.records import EDIT, GONE, GONE_TEXT, REACT, REDACT


@dataclass
class Place:
    """A room in which ada and bob are, and what is known of its messages."""

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
    """Return a record of a time that is shown as ??:??."""
    return Message("lobby", offset, f"{by}-{offset}", by, 2**60, text, replay, kind=kind, ref=ref)


def shown(place: Place, *records: Message, view: RoomView | None = None) -> list[str]:
    """Return the lines of these records, as ada sees them."""
    view = view or RoomView(place, Lines(colour=False, person="ada"))
    lines = view.begin() if not place.fold.messages() else []
    for each in records:
        lines += view.take(place.fold.add(each), several=False)
    return [line.replace("??:?? ", "") for line in lines]


def test_the_past_is_shown_as_it_is_now() -> None:
    """Edits, reactions and deletions are not shown as lines, but as what they have made of the messages."""
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
    view = RoomView(place, Lines(colour=False, person="ada"))
    assert shown(place, *past[:-1], view=view) == []
    assert shown(place, past[-1], view=view) == ["ada: hello (edited) [+1 bob]", 'bob (to ada: "hello"): yes', HERE]
    assert view.oldest == 10


def test_comings_and_goings_wait_for_the_past() -> None:
    """Who is here is listed when the past was shown, and only later changes are news."""
    place, came = Place(replays=1), Presence("lobby", ("bob",), (), 2)
    view = RoomView(place, Lines(colour=False))
    assert view.begin() == view.take(came, several=False) == []
    assert shown(place, record(1, "hello", replay=True), view=view) == ["ada: hello", HERE]
    assert view.take(came, several=False) == ["-- bob came (2 here)"]


def test_what_happens_is_lines() -> None:
    """Each change is told when it comes."""
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


def test_what_was_deleted_before_it_came_is_not_shown_at_all() -> None:
    """Nor is its deletion, of which nobody could tell what it was."""
    lines = shown(Place(), record(1, GONE_TEXT, GONE), record(2, "", REDACT, 1), record(3, "hello"))
    assert lines == [HERE, "ada: hello"]


@pytest.mark.parametrize("first", [record(2, "new"), Restarted("lobby", "e2", 1)])
def test_a_past_that_is_cut_short_is_shown(first: Message | Restarted) -> None:
    """Something else begins before all of it has come."""
    place = Place(replays=5)
    view = RoomView(place, Lines(colour=False))
    assert shown(place, record(1, "old", replay=True), view=view) == []
    lines = shown(place, first, view=view) if isinstance(first, Message) else view.take(first, several=False)
    assert [line.replace("??:?? ", "") for line in lines[:2]] == ["ada: old", HERE]
    assert len(lines) == 3


def test_the_bell_rings_for_answers() -> None:
    """To what the reader has said, when they are new."""
    hello, reply = record(1, "hello"), record(2, "yes", "", 1, "bob")
    assert shown(Place(), hello, reply)[-1].startswith("\a")
    assert not shown(Place(), record(1, "hello", by="cyd"), reply)[-1].startswith("\a")


def test_a_page_may_be_numbered() -> None:
    """Without the deleted messages; the answers quote what is on the page."""
    view = RoomView(Place(), Lines(colour=False))
    page = [record(1, "hello"), record(2, GONE_TEXT, GONE), record(3, "yes", "", 1, "bob")]
    lines = [line.replace("??:?? ", "") for line in view.page(page, numbered=True)]
    assert lines == ["#1 ada: hello", '#3 bob (to ada: "hello"): yes']
