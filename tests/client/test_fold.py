"""The messages that records make: the same ones, in whatever parts the records come."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.client.events import Changed, Message
from parlour.client.fold import CHANGES, Fold
from parlour.wire.records import ACTION, EDIT, GONE, GONE_TEXT, MODERATED, NOTICE, REACT, REDACT, SAID

KINDS = [SAID, SAID, ACTION, NOTICE, EDIT, EDIT, REDACT, REACT, REACT, "topic"]


def record(
    offset: int, text: str = "hello", kind: str = SAID, ref: int = 0, by: str = "ada", account: str = ""
) -> Message:
    """Return a record of a session that is named like its sender."""
    return Message("lobby", offset, f"{by}-{offset}", by, offset, text, False, kind=kind, ref=ref, account=account)


@st.composite
def logs(draw: st.DrawFn) -> list[Message]:
    """Draw the records of a room; many refer to others, some to records that do not exist."""
    made: list[Message] = []
    for offset in range(1, draw(st.integers(1, 25)) + 1):
        kind = draw(st.sampled_from(KINDS))
        ref = draw(st.integers(max(0, offset - 6), offset + 1)) if kind in CHANGES or draw(st.booleans()) else 0
        text = draw(st.sampled_from(["+1", "wow", "no"]))
        account = draw(st.sampled_from(["", "ada's"]))
        each = record(offset, text, kind, ref, draw(st.sampled_from(["ada", "bob"])), account)
        moderates = kind == REDACT and draw(st.booleans())
        made.append(replace(each, data={MODERATED: True}) if moderates else each)
    return made


def fold_of(records: list[Message], kept: int | None = None) -> Fold:
    """Return the fold of records that came one after the other."""
    fold = Fold(kept)
    for each in records:
        fold.add(each)
    return fold


def same_author(one: Message, other: Message) -> bool:
    """Whether both records are of one session or one account."""
    return one.by == other.by or (one.account != "" and one.account == other.account)


def erased(records: list[Message]) -> list[Message]:
    """Return the log as an engine keeps it: deleted records and all their edits are gone."""
    kept = {each.offset: each for each in records}
    for each in records:
        target = kept.get(each.ref)
        if each.kind != REDACT or target is None or target.offset >= each.offset or target.kind in (REDACT, GONE):
            continue
        if same_author(each, target) or each.data:
            for other in [target, *(o for o in kept.values() if o.kind == EDIT and o.ref == target.offset)]:
                kept[other.offset] = replace(other, kind=GONE, text=GONE_TEXT, ref=0, data={})
    return list(kept.values())


# --- the rules ------------------------------------------------------------------------------------------------


def test_the_last_edit_counts() -> None:
    """The message keeps its offset, sender and time."""
    fold = fold_of([record(1, "helo"), record(2, "hallo", EDIT, 1), record(3, "hello", EDIT, 1)])
    assert fold.messages() == [replace(record(1, "hello"), edited=True)]


def test_a_deletion_leaves_only_the_offset() -> None:
    """Edits and reactions before and after it have no meaning any more."""
    before = [record(1, ref=0), record(2, "edited", EDIT, 1), record(3, "+1", REACT, 1, "bob")]
    after = [record(5, "again", EDIT, 1), record(6, "+1", REACT, 1, "bob")]
    fold = fold_of([*before, record(4, "(deleted a message)", REDACT, 1), *after])
    assert fold.messages() == []
    message = fold.message(1)
    assert message is not None
    assert (message.kind, message.text, message.redacted, message.edited) == (GONE, GONE_TEXT, True, False)
    assert (message.by, message.at, message.reactions) == ("ada", 1, {})


def test_reactions_are_counted_by_name() -> None:
    """They are in order; the same reaction of one person counts once, and its sender can take it back."""
    records = [
        record(1),
        record(2, "+1", REACT, 1, "bob"),
        record(3, "wow", REACT, 1, "bob"),
        record(4, "+1", REACT, 1, "ada"),
        record(5, "+1", REACT, 1, "bob"),
    ]
    fold = fold_of(records)
    assert fold.messages()[0].reactions == {"+1": ("bob", "ada"), "wow": ("bob",)}
    fold.add(record(6, "(deleted a message)", REDACT, 3, "bob"))
    fold.add(record(7, "(deleted a message)", REDACT, 4, "bob"))
    assert fold.messages()[0].reactions == {"+1": ("bob", "ada")}


def test_an_edit_can_be_taken_back() -> None:
    """Then the message has its earlier text again."""
    fold = fold_of([record(1, "one"), record(2, "two", EDIT, 1), record(3, "", REDACT, 2)])
    assert fold.messages() == [record(1, "one")]


@pytest.mark.parametrize(
    "change",
    [
        record(9, "changed", EDIT, 1, "bob"),
        record(9, "", REDACT, 1, "bob"),
        record(9, "changed", EDIT, 1, "bob", account="bob's"),
        record(9, "changed", EDIT, 2),
        record(9, "", REDACT, 3, "bob"),
        record(9, "changed", EDIT, 4),
        record(9, "changed", EDIT, 5),
        record(9, "+1", REACT, 5),
        record(9, "+1", REACT, 4),
        record(9, "changed", EDIT, 9),
        record(9, "changed", EDIT, 10),
        record(9, "", REDACT, 77),
        record(9, "changed", EDIT, 0),
    ],
)
def test_records_without_the_right_change_nothing(change: Message) -> None:
    """Records of strangers, or about edits, reactions, gone records, themselves, or missing records."""
    before = [
        record(1),
        record(2, "edited", EDIT, 1),
        record(3, "+1", REACT, 1),
        record(4, "the topic is dice", "topic"),
        record(5, GONE_TEXT, GONE),
    ]
    fold = fold_of(before)
    unchanged = fold.messages()
    event = fold.add(change)
    assert isinstance(event, Changed)
    assert event.message == event.before
    assert fold.messages() == unchanged


def test_those_who_keep_order_delete() -> None:
    """What others said, edited and reacted; an edit by somebody else counts with no field."""
    order = {MODERATED: True}
    fold = fold_of([record(1, "one"), record(2, "two", EDIT, 1), record(3, "+1", REACT, 1)])
    fold.add(replace(record(4, "", REDACT, 2, "bob"), data=order))
    fold.add(replace(record(5, "", REDACT, 3, "bob"), data=order))
    fold.add(replace(record(6, "three", EDIT, 1, "bob"), data=order))
    assert fold.messages() == [record(1, "one")]
    event = fold.add(replace(record(7, "", REDACT, 1, "bob"), data=order))
    assert isinstance(event, Changed)
    assert event.message is not None
    assert event.message.redacted
    assert fold.messages() == []


def test_an_account_has_many_sessions() -> None:
    """Each of them may change the account's messages; guests have no account in common."""
    first, second = record(1, account="ada's"), record(2, "changed", EDIT, 1, "ada_", account="ada's")
    assert fold_of([first, second]).messages()[0].text == "changed"
    first, second = record(1), record(2, "changed", EDIT, 1, "ada_")
    assert fold_of([first, second]).messages()[0].text == "hello"


def test_reply_to() -> None:
    """Texts and actions with a reference are replies; reactions and unknown kinds are not."""
    assert record(2, ref=1).reply_to == record(2, kind=ACTION, ref=1).reply_to == 1
    assert record(2).reply_to is record(2, "+1", REACT, 1).reply_to is record(2, "?", "vote", 1).reply_to is None


def test_a_change_of_a_forgotten_message() -> None:
    """The event has the record, and no message."""
    fold = fold_of([record(1), record(2), record(3)], kept=2)
    change = record(4, "changed", EDIT, 1)
    assert fold.add(change) == Changed(change, None, None)


# --- in whatever parts the records come -----------------------------------------------------------------------


@given(logs())
def test_events_tell_all_changes(log: list[Message]) -> None:
    """A program that keeps each message and replaces it on each change has the messages of the fold."""
    fold = Fold(None)
    kept: dict[int, Message] = {}
    for each in log:
        event = fold.add(each)
        if isinstance(event, Message):
            kept[event.offset] = event
        elif event.message is not None:
            kept[event.message.offset] = event.message
    assert [message for message in kept.values() if not message.redacted] == fold.messages()
    assert list(kept.values()) == [fold.message(offset) for offset in sorted(kept)]


@given(logs(), st.integers(1, 30))
def test_memory_is_bounded(log: list[Message], most: int) -> None:
    """The last records give the same messages as if all were remembered."""
    whole, bounded = fold_of(log), fold_of(log, most)
    assert bounded.messages() == [message for message in whole.messages() if message.offset > len(log) - most]
    for table in (bounded._records, bounded._about, bounded._now):
        assert len(table) <= most
        assert all(offset > len(log) - most for offset in table)


@given(logs(), st.data())
def test_pages_give_the_same_messages_as_events(log: list[Message], data: st.DataObject) -> None:
    """A client that joins at any point and reads back in pages of any length has the messages of one that heard all."""
    joined = data.draw(st.integers(0, len(log)), "joined")
    fold = fold_of(log[joined:])
    shown: list[Message] = []
    before = data.draw(st.integers(joined, len(log)), "before")
    rest = log[:before]
    while rest:
        cut = data.draw(st.integers(0, len(rest) - 1), "cut")
        rest, page = rest[:cut], rest[cut:]
        shown[:0] = fold.page(data.draw(st.permutations(page)))
    whole = fold_of(log).messages()
    assert shown == [message for message in whole if message.offset <= before]
    assert fold.messages() == [message for message in whole if message.offset > joined]


@given(logs(), st.data())
def test_an_erased_log_gives_the_same_messages(log: list[Message], data: st.DataObject) -> None:
    """A client that reads the log after the texts are gone has the same messages, also if it heard a part before."""
    kept = erased(log)
    heard = data.draw(st.integers(0, len(log)), "heard")
    whole = fold_of(log).messages()
    assert fold_of(kept).messages() == fold_of(log[heard:]).page(kept) == whole


@given(logs())
def test_messages_can_be_pickled(log: list[Message]) -> None:
    """Also edited messages and those with reactions."""
    messages = fold_of(log).messages()
    assert pickle.loads(pickle.dumps(messages)) == messages
    assert len({hash(message) for message in messages}) <= len(messages)
