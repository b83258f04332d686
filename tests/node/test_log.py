"""The contract of the room log, kept by every engine, and what SQLite's files can do to it."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from parlour.node.log import LogError, Post, RichPost, RoomLog, memory, sqlite, sqlite_journal
from parlour.node.log.opening import open_log
from parlour.node.log.redis import RedisLog
from parlour.node.log.redis_job import Job, key
from parlour.runtime.log_urls import default_log
from parlour.runtime.threads import join_all, spawn
from parlour.wire.errors import UsageError
from parlour.wire.limits import sane_time
from parlour.wire.records import EDIT, GONE, REACT, REDACT
from support.opener import Opener
from support.waiting import eventually


def post(number: int, session: str = "s", text: str = "hello") -> Post:
    """Return a post of ada's."""
    return Post(session, number, "ada", 1_700_000_000_000 + number, text)


@pytest.mark.parametrize("at", [2**60, -(2**40)], ids=["late", "early"])
def test_a_time_that_no_calendar_has_is_brought_into_it(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """A log written by a node whose clock was mad can be read, and what is read of it can be shown."""
    log = opener()
    if isinstance(log, memory.MemoryLog):
        pytest.skip("a log in memory was written by nobody before")
    write_as_of_before(log, monkeypatch, [at])
    assert [message.at for message in log.read("lobby", 0, 10)] == [sane_time(at)]


def test_offsets_count_up_from_one_in_each_room(opener: Opener) -> None:
    """Posts of a batch get consecutive offsets; every room has a count of its own."""
    log = opener()
    assert log.extent("lobby").top == 0
    assert [place.offset for place in log.append("lobby", [post(1), post(2), post(3)])] == [1, 2, 3]
    assert [place.offset for place in log.append("attic", [post(4)])] == [1]
    assert [place.offset for place in log.append("lobby", [post(5)])] == [4]
    assert (log.extent("lobby").top, log.extent("attic").top) == (4, 1)


def test_what_was_said_is_read_as_it_was(opener: Opener) -> None:
    """Every field comes back, the text byte for byte."""
    log = opener()
    texts = ["", "plain", "tab\there", "nul\0inside", "\ufeffbom", "e\u0301 not composed", "🦜", "x" * 16384]
    log.append("lobby", [post(number, text=text) for number, text in enumerate(texts, 1)])
    messages = log.read("lobby", 0, 100)
    assert [message.text for message in messages] == texts
    first = messages[0]
    assert (first.room, first.offset, first.id, first.by, first.at) == ("lobby", 1, "s-1", "ada", 1_700_000_000_001)


def test_reading_begins_after_an_offset_and_ends_at_the_limit(opener: Opener) -> None:
    """`after` is not itself read, nor more than `limit`; an unknown room is empty."""
    log = opener()
    log.append("lobby", [post(number) for number in range(1, 11)])
    assert [message.offset for message in log.read("lobby", 3, 4)] == [4, 5, 6, 7]
    assert log.read("lobby", 10, 4) == []
    assert log.read("nowhere", 0, 4) == []


def test_a_post_sent_again_is_logged_once(opener: Opener) -> None:
    """The second sending returns where the first stands, also from another node, in one batch, out of order."""
    log, other = opener(), opener()
    first = log.append("lobby", [post(1), post(2)])
    again = other.append("lobby", [post(3), post(2), post(2), post(1), post(4), post(4)])
    assert [(place.offset, place.duplicate) for place in again] == [
        (3, False),
        (2, True),
        (2, True),
        (1, True),
        (4, False),
        (4, True),
    ]
    assert again[1].at == first[1].at
    assert [message.id for message in log.read("lobby", 0, 10)] == ["s-1", "s-2", "s-3", "s-4"]


def test_a_change_of_a_deleted_record_is_refused(opener: Opener) -> None:
    """Nothing about a deleted record is logged, on whichever node; what was logged before is known all the same."""
    log, other = opener(), opener()
    changes = [RichPost("s", number, "ada", 0, "x", kind, 1) for number, kind in ((2, EDIT), (3, REACT), (4, REDACT))]
    log.append("lobby", [post(1), post(1, session="t"), *changes])
    late = [RichPost("s", 5, "ada", 0, "x", EDIT, 1), post(6), RichPost("t", 2, "bob", 0, "x", REACT, 1)]
    fine = [RichPost("t", 3, "bob", 0, "x", REACT, 2), RichPost("s", 8, "ada", 0, "reply", "", 1)]
    for each, again in ((log, False), (other, True)):
        places = each.append("lobby", [*changes[:2], *late, *fine])
        assert [(place.offset, place.duplicate) for place in places] == [
            (3, True),
            (4, True),
            (0, True),
            (6, again),
            (0, True),
            (7, again),
            (8, again),
        ]
        assert log.extent("lobby").top == 8
    (refused,) = log.append("lobby", [RichPost("s", 9, "ada", 0, "x", EDIT, 1)])
    assert refused.offset == 0
    # Also where the deletion is in the same batch.
    places = log.append("lobby", [RichPost("t", 4, "bob", 0, "", REDACT, 2), RichPost("t", 5, "bob", 0, "x", EDIT, 2)])
    assert [place.offset for place in places] == [9, 0]
    assert log.append("lobby", [post(10)])[0].offset == 10
    kinds = [message.kind for message in log.read("lobby", 0, 20)]
    assert kinds == [GONE, GONE, GONE, REACT, REDACT, "", REACT, "", REDACT, ""]


def test_a_post_that_stands_twice_in_a_batch_is_logged_as_it_came_first(opener: Opener) -> None:
    """Who was cut off and came back may find both copies in one batch: what is delivered is what is logged."""
    log = opener()
    first, again = post(1), replace(post(1), at=post(1).at + 5000)
    appended = log.append("lobby", [first, post(2), again])
    assert [(place.offset, place.at, place.duplicate) for place in appended] == [
        (1, first.at, False),
        (2, post(2).at, False),
        (1, first.at, True),
    ]
    assert [message.at for message in log.read("lobby", 0, 10)] == [first.at, post(2).at]


def test_an_id_is_of_its_session_and_room(opener: Opener) -> None:
    """The same number from another session, or to another room, is another post."""
    log = opener()
    assert not log.append("lobby", [post(1)])[0].duplicate
    assert not log.append("lobby", [post(1, session="t")])[0].duplicate
    assert not log.append("attic", [post(1)])[0].duplicate


def test_every_opening_of_a_log_has_its_identity_and_epoch(opener: Opener) -> None:
    """Two nodes can tell that they share a log."""
    log, other = opener(), opener()
    assert log.identity == other.identity
    assert log.extent("lobby").epoch == other.extent("lobby").epoch == log.append("lobby", [post(1)])[0].epoch


NEVER, ALWAYS = 0, 2**53
"""Times before and after everything that is said here."""


def test_what_is_trimmed_is_forgotten_from_the_oldest_on(opener: Opener) -> None:
    """The last messages stay and keep their offsets, in every opening; the room goes on where it was."""
    log, other = opener(), opener()
    log.append("lobby", [post(number) for number in range(1, 11)])
    log.append("attic", [post(1)])
    assert log.extent("lobby")[1:] == (0, 10)
    assert not log.trim("lobby", 4, ALWAYS, 100)
    assert log.extent("lobby") == other.extent("lobby")
    assert other.extent("lobby")[1:] == (6, 10)
    assert [message.offset for message in other.read("lobby", 0, 100)] == [7, 8, 9, 10]
    assert [message.offset for message in other.read("lobby", 8, 100)] == [9, 10]
    assert other.append("lobby", [post(11)])[0].offset == 11
    assert log.extent("attic")[1:] == (0, 1)


def test_trimming_goes_no_further_than_it_shall(opener: Opener) -> None:
    """What was logged at that time or later stays, and what follows it; so do the last ones, old as they are."""
    log = opener()
    times = [100, 200, 900, 300, 1000]
    log.append("lobby", [replace(post(number), at=at) for number, at in enumerate(times, 1)])
    assert not log.trim("lobby", 0, NEVER, 100)
    assert not log.trim("lobby", 5, ALWAYS, 100)
    assert not log.trim("lobby", 9, ALWAYS, 100)
    assert log.extent("lobby").trimmed == 0
    assert not log.trim("lobby", 0, 900, 100)
    assert log.extent("lobby").trimmed == 2
    assert not log.trim("lobby", 1, ALWAYS, 100)
    assert log.extent("lobby").trimmed == 4


FUTURE = 2**50
"""A time of a clock that was far ahead."""


def test_a_time_is_not_before_the_last_nor_ahead_of_the_logs_clock(opener: Opener) -> None:
    """What a node's clock says is put right when it is logged, and the node is told."""
    log, other = opener(), opener()
    now = log.now()
    appended = [
        log.append("lobby", [replace(post(1), at=500), replace(post(2), at=400), replace(post(3), at=600)]),
        other.append("lobby", [replace(post(4), at=550)]),
        log.append("lobby", [replace(post(5), at=FUTURE)]),
        log.append("lobby", [replace(post(6), at=now)]),
    ]
    times = [place.at for places in appended for place in places]
    assert times[:4] == [500, 500, 600, 600]
    assert all(now <= at <= log.now() for at in times[4:])
    assert times == [message.at for message in other.read("lobby", 0, 9)]
    assert other.append("lobby", [replace(post(2), at=1)])[0].at == 500


@pytest.mark.parametrize(
    ("keep", "before", "kept"), [pytest.param(2, ALWAYS, 2, id="count"), pytest.param(0, 900, 1, id="age")]
)
def test_a_time_ahead_of_the_clock_does_not_end_trimming(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, keep: int, before: int, kept: int
) -> None:
    """It was logged by a clock that was wrong, once: it is as old as what follows it."""
    log = opener()
    write_as_of_before(log, monkeypatch, [FUTURE, FUTURE, 100, 200, FUTURE, 300, 1000][: 7 if before == 900 else 6])
    while log.trim("lobby", keep, before, 2):
        pass
    _, trimmed, top = log.extent("lobby")
    assert top - trimmed == kept


def write_as_of_before(log: RoomLog, monkeypatch: pytest.MonkeyPatch, times: list[int]) -> None:
    """Log messages at these times, as logs did when they took any."""
    with monkeypatch.context() as patched:
        patched.setattr(memory, "settled_time", lambda at, *_: at)
        patched.setattr(sqlite, "settled_times", lambda posts, *_: posts)
        log.append("lobby", [replace(post(number), at=at) for number, at in enumerate(times, 1)])
    if isinstance(log, RedisLog):
        stream = key("lobby", "log")
        log._call(Job.plain("DEL", stream))
        for number, at in enumerate(times, 1):
            fields = {"session": "s", "id": number, "by": "ada", "at": at, "text": "hello"}
            pairs = [word for pair in fields.items() for word in pair]
            log._call(Job.plain("XADD", stream, f"{number}-0", *pairs))


def test_trimming_is_done_in_short_steps(opener: Opener) -> None:
    """A step forgets no more than it may, and tells that there is more."""
    log = opener()
    log.append("lobby", [post(number) for number in range(1, 8)])
    steps = [log.trim("lobby", 2, ALWAYS, 2), log.extent("lobby").trimmed, log.trim("lobby", 2, ALWAYS, 2)]
    assert steps == [True, 2, True]
    assert not log.trim("lobby", 2, ALWAYS, 2)
    assert log.extent("lobby")[1:] == (5, 7)


def test_a_room_of_which_nothing_is_kept_goes_on_counting(opener: Opener) -> None:
    """Offsets are never given out again, in the same epoch, also by another opening."""
    log = opener()
    epoch = log.append("lobby", [post(1), post(2)])[0].epoch
    assert not log.trim("lobby", 0, ALWAYS, 100)
    assert (log.extent("lobby"), log.read("lobby", 0, 9)) == ((epoch, 2, 2), [])
    assert astuple(opener().append("lobby", [post(3)])[0])[:2] == (epoch, 3)
    assert log.extent("lobby") == (epoch, 2, 3)
    assert not log.trim("nowhere", 0, ALWAYS, 100)
    assert log.extent("nowhere")[1:] == (0, 0)


def test_a_kept_post_is_still_known_after_others_were_trimmed(opener: Opener) -> None:
    """Sent again it stands where it stood."""
    log = opener()
    log.append("lobby", [post(number) for number in range(1, 5)])
    log.trim("lobby", 2, ALWAYS, 100)
    assert astuple(log.append("lobby", [post(3)])[0])[1:] == (3, post(3).at, True)


def test_rooms_are_listed_in_order_and_in_parts(opener: Opener) -> None:
    """Each room with messages is named once, whatever its name."""
    log = opener()
    names = ["Zürich", "attic", "lobby", "ops {1}", "room %7B", "部屋"]
    for name in reversed(names):
        log.append(name, [post(1)])
    assert log.rooms("", 100) == names
    assert log.rooms("", 2) == names[:2]
    assert log.rooms("attic", 3) == names[2:5]
    assert log.rooms("部屋", 3) == []


def test_threads_append_at_once_without_a_hole(opener: Opener) -> None:
    """Many threads, two openings, two rooms: each room's offsets are 1 to N, and each sender's posts in order."""
    logs = [opener(), opener()]

    def write(number: int) -> None:
        for turn in range(20):
            logs[number % 2].append(f"room {number % 3}", [post(turn * 3 + i, f"s{number}") for i in range(1, 4)])

    join_all([spawn(f"writer-{number}", write, number) for number in range(9)], 30)
    for room in range(3):
        messages = logs[0].read(f"room {room}", 0, 1000)
        assert [message.offset for message in messages] == list(range(1, 181))
        for session in {message.id.rpartition("-")[0] for message in messages}:
            ids = [int(m.id.rpartition("-")[2]) for m in messages if m.id.startswith(f"{session}-")]
            assert ids == sorted(ids)


_runs = itertools.count()  # one fixture serves all examples, so each has rooms of its own
posts = st.tuples(st.sampled_from(["s", "t", "u"]), st.integers(1, 12))
steps = st.lists(
    st.tuples(st.sampled_from(["lobby", "attic"]), st.lists(posts, min_size=1, max_size=9) | st.integers(0, 6)),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(steps=steps)
def test_engines_do_what_a_plain_list_does(
    opener: Opener, steps: list[tuple[str, list[tuple[str, int]] | int]]
) -> None:
    """Batches with repeats, and trimming in between, give what a list and a look through it would give."""
    log, run = opener(), next(_runs)
    model: dict[str, list[tuple[str, int]]] = {}
    trimmed: dict[str, int] = {}
    for room, step in steps:
        said, name = model.setdefault(room, []), f"{room} {run}"
        if isinstance(step, int):
            trimmed[room] = max(trimmed.get(room, 0), len(said) - step)
            while log.trim(name, step, ALWAYS, 2):
                pass
        else:
            expected: list[tuple[int, bool]] = []
            batch = [key for key in step if key not in said[: trimmed.get(room, 0)]]  # else it may be known or not
            for key in batch:
                duplicate = key in said
                if not duplicate:
                    said.append(key)
                expected.append((said.index(key) + 1, duplicate))
            places = log.append(name, [post(number, session) for session, number in batch]) if batch else []
            assert [(place.offset, place.duplicate) for place in places] == expected
        kept = trimmed.get(room, 0)
        assert log.extent(name)[1:] == (kept, len(said))
        assert [message.id for message in log.read(name, 0, 1000)] == [f"{s}-{n}" for s, n in said[kept:]]


# --- records ------------------------------------------------------------------------------------------------


def rich(plain: Post, **fields: Any) -> RichPost:
    """Return a post with fields of its own."""
    return RichPost(*astuple(plain), **fields)


def record(number: int, kind: str, ref: int = 0, text: str = "hello") -> Post:
    """Return a post of ada's of a kind."""
    return rich(post(number, text=text), kind=kind, ref=ref)


def test_a_records_own_fields_come_back(opener: Opener) -> None:
    """Kind, reference, account and data, whatever JSON can hold; what is plainly said has none, beside others too."""
    log, other = opener(), opener()
    data: dict[str, Any] = {
        "a": [1, -(2**53) + 1, 0.1, 1.0, 1e300, True, None, [], {}, {"ü": ["🦜", "\0", '"', "\\u0041", ""]}],
        "": "\n",
    }
    full = RichPost("s", 1, "ada", 1_700_000_000_001, "waves\0", "action", 7, "äda", data)
    log.append("lobby", [post(2), full, post(3)])
    log.append("lobby", [rich(post(4), account="ada")])
    log.append("lobby", [rich(post(5), ref=1), rich(post(6), data={"a": {}})])
    messages = other.read("lobby", 0, 10)
    assert [(m.kind, m.ref, m.account, m.data) for m in messages] == [
        ("", 0, "", {}),
        ("action", 7, "äda", data),
        ("", 0, "", {}),
        ("", 0, "ada", {}),
        ("", 1, "", {}),
        ("", 0, "", {"a": {}}),
    ]
    assert repr(messages[1].data) == repr(data)
    assert [m.text for m in messages] == ["hello", "waves\0", "hello", "hello", "hello", "hello"]


def fields(log: RoomLog, room: str = "lobby") -> list[tuple[int, str, str, int]]:
    """Return offset, kind, text and reference of all that is kept of a room, read in pages of three."""
    found: list[tuple[int, str, str, int]] = []
    after = log.extent(room).trimmed
    while page := log.read(room, after, 3):
        assert len(page) <= 3
        found += [(message.offset, message.kind, message.text, message.ref) for message in page]
        after = page[-1].offset
    return found


def gone(offset: int) -> tuple[int, str, str, int]:
    """Return the fields of a record that is deleted."""
    return (offset, "gone", "(deleted)", 0)


@pytest.mark.parametrize("ref", [1, 150, 299, 300], ids=["oldest", "middle", "last-but-one", "newest"])
def test_a_deleted_record_keeps_its_place(opener: Opener, ref: int) -> None:
    """Its offset, id, sender, account and time stay, its text and data do not; nothing else changes, for any node."""
    log, other = opener(), opener()
    said = [rich(post(n, text=f"text {n}"), account="ada", data={"n": n}) for n in range(1, 301)]
    for first in range(0, 300, 7):
        log.append("lobby", said[first : first + 7])
    before = log.read("lobby", 0, 1000)
    (place,) = other.append("lobby", [record(301, "redact", ref, "typo")])
    assert (place.offset, place.duplicate) == (301, False)
    for each in (log, other, opener()):
        after = each.read("lobby", 0, 1000)
        assert [message.offset for message in after] == list(range(1, 302))
        changed = after[ref - 1]
        assert (changed.kind, changed.text, changed.ref, changed.data) == ("gone", "(deleted)", 0, {})
        assert (changed.id, changed.by, changed.at, changed.account) == (f"s-{ref}", "ada", said[ref - 1].at, "ada")
        assert after[: ref - 1] + after[ref:300] == before[: ref - 1] + before[ref:]
        assert (after[300].kind, after[300].ref, after[300].text) == ("redact", ref, "typo")
        assert each.extent("lobby")[1:] == (0, 301)
        assert each.read("lobby", ref - 1, 1) == [changed]
    assert astuple(log.append("lobby", [post(ref)])[0])[1:] == (ref, said[ref - 1].at, True)
    assert log.append("lobby", [post(302)])[0].offset == 302


def test_a_record_goes_with_its_edits(opener: Opener) -> None:
    """All that were logged, by whichever node, in whichever batch; the edits of others, and replies, stay."""
    log, other = opener(), opener()
    log.append("lobby", [post(1), post(2), record(3, "edit", 1), record(4, "edit", 2)])
    other.append("lobby", [record(5, "edit", 1), rich(post(6), ref=1), record(7, "react", 1, "🦜")])
    log.append("attic", [post(1), record(2, "edit", 1)])
    log.append("lobby", [record(8, "edit", 1), record(9, "redact", 1)])
    assert fields(other) == [
        gone(1),
        (2, "", "hello", 0),
        gone(3),
        (4, "edit", "hello", 2),
        gone(5),
        (6, "", "hello", 1),
        (7, "react", "🦜", 1),
        gone(8),
        (9, "redact", "hello", 1),
    ]
    assert fields(log, "attic") == [(1, "", "hello", 0), (2, "edit", "hello", 1)]


def test_an_edit_is_deleted_alone(opener: Opener) -> None:
    """The record that it edited stays, and so do its other edits; these go with it later."""
    log = opener()
    log.append("lobby", [post(1), record(2, "edit", 1), record(3, "edit", 1)])
    log.append("lobby", [record(4, "redact", 2)])
    assert fields(log)[:3] == [(1, "", "hello", 0), gone(2), (3, "edit", "hello", 1)]
    log.append("lobby", [record(5, "redact", 1)])
    assert fields(log)[:3] == [gone(1), gone(2), gone(3)]


def test_a_deletion_of_nothing_is_logged_and_changes_nothing(opener: Opener) -> None:
    """Of a record that is trimmed, gone, itself, yet to come, or none; and of one that is sent again."""
    log, other = opener(), opener()
    log.append("lobby", [post(number) for number in range(1, 7)])
    other.append("lobby", [record(7, "redact", 4)])
    log.trim("lobby", 5, ALWAYS, 100)
    refs = [1, 4, 12, 13, 99, 2**53 - 1, 0]
    places = log.append("lobby", [record(number, "redact", ref) for number, ref in enumerate(refs, 8)])
    assert [place.offset for place in places] == list(range(8, 15))
    log.append("lobby", [record(15, "redact", 4), record(7, "redact", 4)])
    assert fields(other) == [
        (3, "", "hello", 0),
        gone(4),
        (5, "", "hello", 0),
        (6, "", "hello", 0),
        *((offset, "redact", "hello", ref) for offset, ref in enumerate([4, *refs], 7)),
        (15, "redact", "hello", 4),
    ]


def test_a_room_of_deleted_records_is_trimmed_and_goes_on(opener: Opener) -> None:
    """All of a room is deleted, half of it forgotten, then the rest; offsets and ids are as they would have been."""
    log, other = opener(), opener()
    log.append("lobby", [post(number) for number in range(1, 121)])
    for ref in range(1, 121):
        other.append("lobby", [record(120 + ref, "redact", ref)])
    assert fields(log)[:120] == [gone(offset) for offset in range(1, 121)]
    assert log.rooms("", 10) == ["lobby"]
    while log.trim("lobby", 180, ALWAYS, 7):
        pass
    assert other.extent("lobby")[1:] == (60, 240)
    assert fields(other)[:60] == [gone(offset) for offset in range(61, 121)]
    assert [place.offset for place in log.append("lobby", [post(120), post(300)])] == [120, 241]
    assert not log.trim("lobby", 0, ALWAYS, 1000)
    assert (log.extent("lobby")[1:], other.read("lobby", 0, 10)) == ((241, 241), [])
    assert log.append("lobby", [record(301, "redact", 60), post(302)])[1].offset == 243
    assert fields(log) == [(242, "redact", "hello", 60), (243, "", "hello", 0)]


_kinds = st.sampled_from(["", "", "edit", "redact", "redact"])
_deeds = st.lists(
    st.lists(st.tuples(_kinds, st.integers(0, 30), st.sampled_from([1, 30, 1000])), min_size=1, max_size=12)
    | st.integers(0, 25),
    max_size=14,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(deeds=_deeds)
def test_engines_delete_as_a_plain_list_does(opener: Opener, deeds: list[list[tuple[str, int, int]] | int]) -> None:
    """Batches of posts, edits and deletions, and trimming in between, by two nodes in turn."""
    logs, room = itertools.cycle([opener(), opener()]), f"room {next(_runs)}"
    model: list[tuple[int, str, str, int]] = []
    trimmed, number = 0, 0
    for deed in deeds:
        log = next(logs)
        if isinstance(deed, int):
            trimmed = max(trimmed, len(model) - deed)
            while log.trim(room, deed, ALWAYS, 2):
                pass
        else:
            batch: list[Post] = []
            for kind, ref, size in deed:
                number, offset = number + 1, len(model) + 1
                batch.append(record(number, kind, ref, "x" * size))
                if kind == "edit" and trimmed < ref < offset and model[ref - 1][1] == "gone":
                    continue  # It is refused.
                model.append((offset, kind, "x" * size, ref))
                if kind == "redact" and trimmed < ref < offset and model[ref - 1][1] != "gone":
                    model = [gone(m[0]) if m[0] == ref or (m[1], m[3]) == ("edit", ref) else m for m in model]
            log.append(room, batch)
        assert fields(next(logs), room) == model[trimmed:]
        assert log.extent(room)[1:] == (trimmed, len(model))


# --- SQLite's files -----------------------------------------------------------------------------------------


def url(path: Path) -> str:
    """Return the URL of a file's log."""
    return f"sqlite://{path}"


def remove(path: Path) -> None:
    """Remove a log's file, and those that SQLite keeps beside it while it is open."""
    for leftover in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        leftover.unlink(missing_ok=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a log file that is not there yet."""
    return tmp_path / "log.sqlite"


def _append_many(where: str, session: str) -> None:
    log = open_log(where)
    for number in range(1, 101):
        log.append("lobby", [post(number, session)])
    log.close()


def test_processes_share_one_file(path: Path) -> None:
    """Three processes make and write one file at once: no post is lost and no offset given twice."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(url(path), f"s{n}")) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
        writer.close()
    log = open_log(url(path))
    assert [message.offset for message in log.read("lobby", 0, 1000)] == list(range(1, 301))
    log.close()
    multiprocessing.resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


def test_what_is_logged_survives_the_process(path: Path) -> None:
    """A process that is killed right after `append` returned has logged the post, at the same epoch."""
    code = (
        "import os\nfrom parlour.node.log import Post\nfrom parlour.node.log.opening import open_log\n"
        f"log = open_log({url(path)!r})\nlog.append('lobby', [Post('s', 1, 'ada', 1, 'last words')])\n"
        "print(log.extent('lobby').epoch, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    log = open_log(url(path))
    assert [message.text for message in log.read("lobby", 0, 10)] == ["last words"]
    assert log.extent("lobby").epoch == done.stdout.strip()
    log.close()


def test_a_copy_of_the_file_begins_a_new_epoch(path: Path) -> None:
    """A restored backup is the same log, but positions of before are not valid in it."""
    log = open_log(url(path))
    log.append("lobby", [post(1)])
    identity, epoch = log.identity, log.extent("lobby").epoch
    log.close()
    copy = path.with_name("copy.sqlite")
    shutil.copy(path, copy)
    restored = open_log(url(copy))
    assert restored.identity == identity
    assert restored.extent("lobby").epoch != epoch
    assert restored.extent("lobby").top == 1
    restored.close()


def test_a_file_that_was_moved_away_is_missed_and_found_again(path: Path) -> None:
    """Nothing is logged to a file that nobody can find; when it is back, the log goes on."""
    log = open_log(url(path))
    log.append("lobby", [post(1)])
    away = path.with_name("away.sqlite")
    path.rename(away)
    with pytest.raises(LogError, match=r"is gone: put it back"):
        log.append("lobby", [post(2)])
    away.rename(path)
    assert log.append("lobby", [post(2)])[0].offset == 2
    log.close()


def test_a_file_that_was_restored_under_a_node_is_opened_anew(path: Path) -> None:
    """An older copy put in the place of the file gives offsets again, so the epoch is another."""
    log = open_log(url(path))
    log.append("lobby", [post(1)])
    epoch = log.extent("lobby").epoch
    backup = sqlite3.connect(path.with_name("backup.sqlite"))
    source = sqlite3.connect(path)
    source.backup(backup)
    source.close()
    backup.close()
    log.append("lobby", [post(2)])
    remove(path)
    path.with_name("backup.sqlite").rename(path)
    (place,) = log.append("lobby", [post(3)])
    assert place.offset == 2
    assert place.epoch != epoch
    assert [message.id for message in log.read("lobby", 0, 10)] == ["s-1", "s-3"]
    log.close()


def test_another_log_in_the_place_of_the_file_is_refused(path: Path) -> None:
    """A node goes on with its own log or not at all."""
    log = open_log(url(path))
    other = open_log(url(path.with_name("other.sqlite")))
    other.close()
    remove(path)
    path.with_name("other.sqlite").rename(path)
    with pytest.raises(LogError, match=r"another room log stands at"):
        log.append("lobby", [post(1)])
    log.close()


def test_the_journal_stays_short_while_much_is_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nobody says anything meanwhile: a node that is given less to keep has weeks to forget."""
    monkeypatch.setattr(sqlite_journal, "JOURNAL", 64 * sqlite_journal.COMMIT)
    journal = Path(f"{path}-wal")

    def carried_over() -> bool:
        return all(thread.name != "sqlite-checkpoint" for thread in threading.enumerate())

    with closing(open_log(url(path))) as log:
        for number in range(400):
            posts = [Post(f"s{(number + n) % 40}", number, "ada", 1, "hello " * 40) for n in range(20)]
            log.append("lobby", posts)
            eventually(carried_over)
        said = journal.stat().st_size
        while log.trim("lobby", 0, 2, 100):
            eventually(carried_over)
        assert log.extent("lobby")[1:] == (8000, 8000)
        assert journal.stat().st_size < said + 1_000_000


def test_the_journal_is_carried_over_beside_the_commits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nobody ever pauses it stays short, and the file has what was said; who reads on holds up nobody."""
    monkeypatch.setattr(sqlite_journal, "LONG", 200)
    monkeypatch.setattr(sqlite_journal, "JOURNAL", 64 * sqlite_journal.COMMIT)
    journal = Path(f"{path}-wal")
    with closing(open_log(url(path))) as log, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        numbers = itertools.count(1)

        def go_on() -> int:
            for _ in range(64):
                log.append("lobby", [post(next(numbers))])
            return path.stat().st_size

        eventually(lambda: go_on() > 100_000, 20, "the file grows")
        assert journal.stat().st_size < 5_000_000
        reader.execute("BEGIN")
        told = reader.execute("SELECT max(id) FROM batches").fetchone()
        for _ in range(5):
            go_on()
        assert reader.execute("SELECT max(id) FROM batches").fetchone() == told
        reader.execute("COMMIT")
        last = next(numbers) - 1
        assert [message.offset for message in log.read("lobby", last - 2, 10)] == [last - 1, last]


def test_a_full_disk_costs_the_batch_and_nothing_else(path: Path) -> None:
    """A file that may not grow fails the whole batch; with room again the same posts are logged, once."""
    code = f"""
import resource
from parlour.node.log import LogError, Post
from parlour.node.log.opening import open_log
log = open_log({url(path)!r})
log.append("lobby", [Post("s", 1, "ada", 1, "before")])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
posts = [Post("s", n, "ada", 1, "x" * 10_000) for n in range(2, 42)]
try:
    log.append("lobby", posts)
except LogError as error:
    print(error)
print(log.extent("lobby").top, len(log.read("lobby", 0, 100)))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print([place.offset for place in log.append("lobby", posts)] == list(range(2, 42)))
log.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    error, before, after = done.stdout.splitlines()
    assert "make room" in error
    assert before == "1 1"
    assert after == "True"


def test_files_that_are_no_log_are_refused_in_one_line(path: Path) -> None:
    """Another program's database, a text, a folder, a device, a missing folder, a long name: each a LogError."""
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE recipes (name TEXT)")
    foreign.close()
    with pytest.raises(LogError, match="another program"):
        open_log(url(path))
    path.write_text("these are notes of mine, and long enough to be no empty file\n" * 100)
    with pytest.raises(LogError, match="not a room log"):
        open_log(url(path))
    for no_file in (path.parent, "/dev/null"):
        with pytest.raises(LogError, match=r"it is no file; give --log the path of one"):
            open_log(url(Path(no_file)))
    with pytest.raises(LogError, match="does not exist"):
        open_log(url(path.parent / "nowhere" / "log.sqlite"))
    for long in (path.parent / ("n" * 300), path.parent / ("n" * 300) / "log.sqlite"):
        with pytest.raises(LogError, match="File name too long"):
            open_log(url(long))
    assert path.read_text().startswith("these are notes"), "it was not ours to write to"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any file")
def test_a_file_that_may_not_be_written_is_refused(path: Path) -> None:
    """Opening tells of the permissions, so that the operator need not guess."""
    open_log(url(path)).close()
    path.chmod(stat.S_IRUSR)
    with pytest.raises(LogError, match="check the permissions"):
        open_log(url(path))
    path.parent.chmod(0)
    try:
        for hidden in (path, path.parent / "folder" / "log.sqlite"):
            with pytest.raises(LogError, match="check the permissions"):
                open_log(url(hidden))
    finally:
        path.parent.chmod(stat.S_IRWXU)


@pytest.mark.parametrize(("version", "error"), [(2, "an older parlour .* begin another"), (4, "a newer parlour")])
def test_a_log_of_another_format_is_left_alone(path: Path, version: int, error: str) -> None:
    """A file that another version wrote is not guessed at."""
    open_log(url(path)).close()
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {version}")
    other.close()
    with pytest.raises(LogError, match=error):
        open_log(url(path))


def test_a_damaged_file_is_told_of(path: Path) -> None:
    """What cannot be read is no message, and no traceback."""
    log = open_log(url(path))
    log.append("lobby", [post(1), post(2)])
    with sqlite3.connect(path) as file:
        file.execute("UPDATE batches SET posts = x'93c0'")
    file.close()
    for call in (lambda: log.read("lobby", 0, 9), lambda: log.append("lobby", [post(1)])):
        with pytest.raises(LogError, match=r"is damaged .* restore a backup"):
            call()
    log.close()


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "lobby", "memory://?a=1", "sqlite://", "sqlite:log", "sqlite:///x?sync=never", "sqlite:///x?a=1"),
        *("redis://", "redis:x", "redis://x:0", "redis://x:port", "redis://x/lobby", "redis://x/0?db=1", "rediss://[x"),
        *("redis://x/0?wait", "redis://x/0?wait=-1", "sqlite:///x?wait=1", "memory://?wait=1"),
        *("redis+cluster://x", "redis://ada:se/cret@x:y", "redis://ada:se@cret@x/lobby", "redis:ada:secret@x"),
        *("sqlite:///a%00b", "redis://log..example.org:6379/0", "redis://\udcff/0"),
    ],
)
def test_a_url_that_is_none_is_the_callers_error(wrong: str) -> None:
    """The error shows what a log URL looks like, and no password."""
    with pytest.raises(UsageError, match=r"a room log is memory://.* redis://HOST:PORT/DB") as caught:
        open_log(wrong)
    assert "cret" not in str(caught.value)


def test_the_default_log_is_in_the_users_data_directory() -> None:
    """Its folder is made; its URL can be opened."""
    where, note = default_log("127.0.0.1:6000")
    assert os.environ["XDG_DATA_HOME"] in where
    assert not note
    open_log(where).close()


def test_each_broker_has_a_default_log_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clusters of one user do not mix; who has a log of before at another broker is told how to go on with it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    logs = [default_log(broker) for broker in ("127.0.0.1:7000", "[::1]:6000", "chat.example.org:6000")]
    assert logs == [
        (f"sqlite://{tmp_path}/parlour/rooms-{name}.sqlite", "")
        for name in ("127.0.0.1-7000", "1-6000", "chat.example.org-6000")
    ]
    open_log(default_log("127.0.0.1:6000")[0]).close()
    url, note = default_log("127.0.0.1:7000")
    assert f"give --log sqlite://{tmp_path}/parlour/rooms.sqlite" in note
    open_log(url).close()
    assert default_log("127.0.0.1:7000") == (url, "")
    assert default_log("localhost:6000") == default_log("127.0.0.1:6000")


def test_the_default_log_is_where_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever characters the home folder's name has."""
    home = tmp_path / "50% #1? ü"
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    open_log(default_log("127.0.0.1:6000")[0]).close()
    assert [path.name for path in tmp_path.iterdir()] == [home.name]
    assert (home / "parlour" / "rooms.sqlite").exists()
    assert (home / "parlour").stat().st_mode & 0o777 == 0o700


def test_files_of_the_default_log_are_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of before could be read by everybody on the machine."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = tmp_path / "parlour"
    folder.mkdir(mode=0o755)
    for ending in ("", "-wal", "-mark"):
        (folder / f"rooms.sqlite{ending}").touch(0o644)
    default_log("127.0.0.1:6000")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_fragment_is_no_part_of_a_url(path: Path) -> None:
    """What comes after # would be dropped without a word, and another file opened."""
    with pytest.raises(UsageError, match=r"write # .* as %23"):
        open_log(f"{url(path)}#1")
