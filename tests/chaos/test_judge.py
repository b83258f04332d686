"""The judge of a room: it finds nothing in a perfect scene, and each kind of fault that a test puts in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.judge import FAULTS, total
from parlour.chaos.marks import mark_of
from parlour.chaos.records import Record, SentPost
from parlour.chaos.view import Shown
from parlour.wire.records import GONE, GONE_TEXT, REACT, REDACT
from support.scenes import Scene, plain_scenes, scenes


def lose(scene: Scene, place: int) -> None:
    """A member misses a message."""
    del scene.heard["m0"][place]


def repeat(scene: Scene, place: int) -> None:
    """A member sees a message twice."""
    scene.heard["m0"].append(scene.heard["m0"][place])


def log_twice(scene: Scene, place: int) -> None:
    """A post sent again is logged again, under another session."""
    line = scene.log[place]._replace(offset=len(scene.log) + 1, id="another-1")
    scene.log.append(line)
    for lines in scene.heard.values():
        lines.append(line)


def swap(scene: Scene, place: int) -> None:
    """A member sees a message after the next one."""
    lines = scene.heard["m0"]
    lines.append(lines.pop(place)) if place < len(lines) - 1 else lines.insert(0, lines.pop())


def alter(scene: Scene, place: int) -> None:
    """A member sees another text."""
    scene.heard["m0"][place] = scene.heard["m0"][place]._replace(text="another")


def alter_for_all(scene: Scene, place: int) -> None:
    """The log and all members have a text that nobody posted."""
    line = scene.log[place]._replace(text="another")
    scene.log[place] = line
    for lines in scene.heard.values():
        lines[place] = line


def leave_out(scene: Scene, place: int) -> None:
    """The log leaves out an offset."""
    for lines in (scene.log, *scene.heard.values()):
        lines[place:] = [line._replace(offset=line.offset + 1) for line in lines[place:]]
    scene.said = [
        post._replace(offset=post.offset + 1) if post.offset is not None and post.offset > place else post
        for post in scene.said
    ]


def forget(scene: Scene, place: int) -> None:
    """An acknowledged record is not in the log, and nobody saw it."""
    del scene.log[place]
    for lines in scene.heard.values():
        del lines[place]


def mistake(scene: Scene, place: int) -> None:
    """A post is acknowledged with a wrong offset."""
    offset = scene.said[place].offset
    assert offset is not None
    scene.said[place] = scene.said[place]._replace(offset=offset % len(scene.log) + 1)


def leave_unanswered(scene: Scene, place: int) -> None:
    """A post gets no answer."""
    scene.said[place] = scene.said[place]._replace(id=None, offset=None)


def keep_in_log(scene: Scene, place: int) -> None:
    """The log still has the text of a deleted record."""
    scene.log[place] = original(scene, place)


def keep_in_files(scene: Scene, place: int) -> None:
    """A file of the log still has the text of a deleted record, somewhere."""
    scene.stored.add(mark_of(original(scene, place).text))


def tell_a_newcomer(scene: Scene, place: int) -> None:
    """A newcomer is sent the text of a deleted record."""
    scene.newcomers["a newcomer"][place] = original(scene, place)


def show_what_is_deleted(scene: Scene, place: int) -> None:
    """The library still shows a deleted text to a client that saw it."""
    scene.shown["c1"] = {scene.log[place].offset: Shown(original(scene, place).text)}


def overlook(scene: Scene, place: int) -> None:
    """A client that saw a text misses that it was deleted."""
    deletions = [index for index, record in enumerate(scene.log) if record.kind == REDACT]
    scene.heard["c1"] = [original(scene, index) for index in range(len(scene.log))]
    for index in reversed(deletions):
        del scene.heard["c1"][index]


def delete_unasked(scene: Scene, place: int) -> None:
    """A text is gone for everybody, but nobody deleted it."""
    for records in (scene.log, *scene.heard.values(), *scene.newcomers.values()):
        records[:] = [record for record in records if record.kind != REDACT]


def refuse_what_is_logged(scene: Scene, place: int) -> None:
    """A post is refused, and logged all the same."""
    scene.said[0] = scene.said[0]._replace(id=None, offset=None, refused=True)


def refuse_without_reason(scene: Scene, place: int) -> None:
    """A reaction is refused, but its record is not deleted."""
    scene.said.append(SentPost("c1", "👍", REACT, scene.log[-1].offset, refused=True))


def original(scene: Scene, place: int) -> Record:
    """Return a record as it was before it was deleted."""
    record = scene.log[place]
    (post,) = [post for post in scene.said if post.id == record.id]
    return record._replace(text=post.text, kind=post.kind, ref=post.ref)


TAMPERING: list[tuple[Callable[[Scene, int], None], str]] = [
    (lose, "lost"),
    (repeat, "duplicated"),
    (log_twice, "duplicated"),
    (swap, "reordered"),
    (alter, "divergent"),
    (alter_for_all, "divergent"),
    (leave_out, "holes"),
    (forget, "unlogged"),
    (mistake, "unlogged"),
    (leave_unanswered, "unanswered"),
]

CHANGED: list[tuple[Callable[[Scene, int], None], str]] = [
    (keep_in_log, "undeleted"),
    (keep_in_files, "undeleted"),
    (tell_a_newcomer, "undeleted"),
    (show_what_is_deleted, "misfolded"),
    (overlook, "misfolded"),
    (delete_unasked, "divergent"),
    (refuse_what_is_logged, "divergent"),
    (refuse_without_reason, "unanswered"),
]


@given(plain_scenes())
def test_perfect_scene(scene: Scene) -> None:
    """The judge finds nothing in a perfect scene, and counts everything."""
    verdict = scene.judged()
    assert not any(verdict.faults.values())
    assert verdict.examples == ()
    assert (verdict.said, verdict.acknowledged, verdict.logged) == (len(scene.log),) * 3
    assert verdict.heard == verdict.members * verdict.logged


@pytest.mark.parametrize(("tamper", "name"), TAMPERING)
@given(scene=plain_scenes(least=2), data=st.data())
def test_each_fault_is_found(
    tamper: Callable[[Scene, int], None], name: str, scene: Scene, data: st.DataObject
) -> None:
    """The judge finds a fault at any place, and names it."""
    tamper(scene, data.draw(st.integers(0, len(scene.log) - 1)))
    assert name in scene.named()
    assert any(example.startswith(f"{name}, ") for example in scene.judged().examples)


@given(scenes())
def test_perfect_changes(scene: Scene) -> None:
    """Clients may have seen a text before or after its deletion: in the end all see the same."""
    verdict = scene.judged()
    assert not any(verdict.faults.values()), verdict.examples
    assert verdict.deleted > 0


@pytest.mark.parametrize(("tamper", "name"), CHANGED)
@given(scene=scenes(), data=st.data())
def test_each_fault_of_changes_is_found(
    tamper: Callable[[Scene, int], None], name: str, scene: Scene, data: st.DataObject
) -> None:
    """The judge finds each fault of deletions and other changes, at any place, and names it."""
    texts = [place for place, record in enumerate(scene.log) if record.kind == GONE]
    texts = [place for place in texts if mark_of(original(scene, place).text)]
    tamper(scene, data.draw(st.sampled_from(texts)))
    assert name in scene.named()
    assert any(example.startswith(f"{name}, ") for example in scene.judged().examples)


def test_refused_change_of_a_deleted_record() -> None:
    """A reaction to a record that is already deleted is refused with reason."""
    log = [Record(1, "s-1", "c1", 1, GONE_TEXT, GONE), Record(2, "s-2", "c1", 1, "c1 2:", REDACT, 1)]
    said = [SentPost("c1", "c1 1:", id="s-1", offset=1), SentPost("c1", "c1 2:", REDACT, 1, "s-2", 2)]
    scene = Scene([*said, SentPost("c2", "👍", REACT, 1, refused=True)], log, {"c2": log})
    assert scene.named() == set()
    assert (scene.judged().refused, scene.judged().deleted) == (1, 1)


def test_each_kind_of_fault_is_tested() -> None:
    """Some test puts in each kind of fault that the judge counts."""
    assert {name for _, name in [*TAMPERING, *CHANGED]} == set(FAULTS)


@given(plain_scenes(least=2), st.data())
def test_lost_record_is_no_other_fault(scene: Scene, data: st.DataObject) -> None:
    """A lost record between others also leaves a hole; a lost last record does not. Neither counts as another fault."""
    place = data.draw(st.integers(0, len(scene.log) - 1))
    lose(scene, place)
    assert scene.named() == ({"lost"} if place == len(scene.log) - 1 else {"lost", "holes"})


def test_overtaken_posts_are_no_fault() -> None:
    """Posts that were logged in another order than their sender made them are counted, and are no fault."""
    log = [Record(1, "s-2", "ada", 1, "second"), Record(2, "s-1", "ada", 1, "first")]
    said = [SentPost("ada", "first", id="s-1", offset=2), SentPost("ada", "second", id="s-2", offset=1)]
    scene = Scene(said, log, {"bob": log})
    assert scene.judged().overtaken == 1
    assert scene.named() == set()


def test_unanswered_post_may_be_logged() -> None:
    """A post without an answer is a fault; if it was logged all the same, that is no other fault."""
    log = [Record(1, "s-1", "ada", 1, "first")]
    assert Scene([SentPost("ada", "first")], log, {"bob": log}).named() == {"unanswered"}


def test_record_outside_the_log_is_divergent() -> None:
    """A member that saw a record which no log has differs from the others."""
    line = Record(1, "s-1", "ada", 1, "first")
    assert "divergent" in Scene([SentPost("ada", "first")], [], {"bob": [line], "cy": []}).named()


@given(plain_scenes(least=1), plain_scenes(least=1))
def test_total_is_the_sum(one: Scene, other: Scene) -> None:
    """The counts of all rooms add up."""
    lose(one, 0)
    repeat(other, 0)
    verdicts = [one.judged(), other.judged()]
    assert total(verdicts).lost == 1
    assert total(verdicts).duplicated == 1
    assert total(verdicts).said == sum(verdict.said for verdict in verdicts)
