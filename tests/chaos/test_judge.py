"""The judge of a room: a perfect scene is perfect, and each kind of fault put into one is found and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.judge import FAULTS, RoomVerdict, judge, total
from parlour.chaos.records import Post, Record


@dataclass
class Scene:
    """All that a judge is given, to be tampered with."""

    said: list[Post]
    log: list[Record]
    heard: dict[str, list[Record]] = field(default_factory=dict)

    def judged(self) -> RoomVerdict:
        """Return the verdict."""
        return judge("lobby", self.said, self.log, self.heard)

    def named(self) -> set[str]:
        """Return the faults that were found."""
        return {name for name, count in self.judged().faults.items() if count}


@st.composite
def perfect(draw: st.DrawFn, least: int = 0) -> Scene:
    """A room in which senders spoke in any interleaving, some unheard by their own client, and all members saw all."""
    senders = draw(st.lists(st.sampled_from(["ada", "bob", "cy"]), min_size=least, max_size=20))
    counts: dict[str, int] = {}
    log: list[Record] = []
    for offset, by in enumerate(senders, 1):
        counts[by] = counts.get(by, 0) + 1
        log.append(Record(offset, f"{by}-session-{counts[by]}", by, 1000 + offset, f"{by} {counts[by]}"))
    said = [Post(line.by, line.text, line.id, line.offset) for line in log]
    # What each sender remembers is in its order; how the senders' posts stand to each other, the judge is not told.
    said.sort(key=lambda post: post.by)
    members = draw(st.integers(1, 4))
    return Scene(said, log, {f"m{number}": list(log) for number in range(members)})


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
    """The log, and so everybody, has a text that was not said."""
    line = scene.log[place]._replace(text="another")
    scene.log[place] = line
    for lines in scene.heard.values():
        lines[place] = line


def leave_out(scene: Scene, place: int) -> None:
    """The log gives no message a certain offset."""
    for lines in (scene.log, *scene.heard.values()):
        lines[place:] = [line._replace(offset=line.offset + 1) for line in lines[place:]]
    scene.said = [
        post._replace(offset=post.offset + 1) if post.offset is not None and post.offset > place else post
        for post in scene.said
    ]


def forget(scene: Scene, place: int) -> None:
    """The log does not have what was acknowledged, and nobody saw it."""
    del scene.log[place]
    for lines in scene.heard.values():
        del lines[place]


def mistake(scene: Scene, place: int) -> None:
    """A post is acknowledged at another place than where it is."""
    offset = scene.said[place].offset
    assert offset is not None
    scene.said[place] = scene.said[place]._replace(offset=offset % len(scene.log) + 1)


def leave_unanswered(scene: Scene, place: int) -> None:
    """A sender hears nothing of its post."""
    scene.said[place] = scene.said[place]._replace(id=None, offset=None)


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


@given(perfect())
def test_a_perfect_record_is_perfect(scene: Scene) -> None:
    """Nothing is found where nothing is wrong, and all is counted."""
    verdict = scene.judged()
    assert not any(verdict.faults.values())
    assert verdict.examples == ()
    assert (verdict.said, verdict.acknowledged, verdict.logged) == (len(scene.log),) * 3
    assert verdict.heard == verdict.members * verdict.logged


@pytest.mark.parametrize(("tamper", "name"), TAMPERING)
@given(scene=perfect(least=2), data=st.data())
def test_each_fault_is_found_and_named(
    tamper: Callable[[Scene, int], None], name: str, scene: Scene, data: st.DataObject
) -> None:
    """Wherever a fault is put, the judge calls it by its name."""
    tamper(scene, data.draw(st.integers(0, len(scene.log) - 1)))
    assert name in scene.named()
    assert any(example.startswith(f"{name}, ") for example in scene.judged().examples)


def test_every_fault_has_its_tampering() -> None:
    """No fault is counted that no test puts in."""
    assert {name for _, name in TAMPERING} == set(FAULTS)


@given(perfect(least=2), st.data())
def test_a_fault_is_counted_once_for_what_it_is(scene: Scene, data: st.DataObject) -> None:
    """What is lost between others is a hole too; what is lost at the end is no hole; neither is anything else."""
    place = data.draw(st.integers(0, len(scene.log) - 1))
    lose(scene, place)
    assert scene.named() == ({"lost"} if place == len(scene.log) - 1 else {"lost", "holes"})


def test_posts_that_overtook_others_are_counted() -> None:
    """That a sender's posts stand in the log in another order than it made them is told, but members saw no fault."""
    log = [Record(1, "s-2", "ada", 1, "second"), Record(2, "s-1", "ada", 1, "first")]
    said = [Post("ada", "first", "s-1", 2), Post("ada", "second", "s-2", 1)]
    scene = Scene(said, log, {"bob": log})
    assert scene.judged().overtaken == 1
    assert scene.named() == set()


def test_what_was_not_acknowledged_may_be_logged() -> None:
    """A post without an answer is a fault of its own; that it was logged all the same is none."""
    log = [Record(1, "s-1", "ada", 1, "first")]
    assert Scene([Post("ada", "first")], log, {"bob": log}).named() == {"unanswered"}


def test_what_the_log_does_not_have_is_divergent() -> None:
    """A member that saw something which is in no log saw something else than the others."""
    line = Record(1, "s-1", "ada", 1, "first")
    assert "divergent" in Scene([Post("ada", "first")], [], {"bob": [line], "cy": []}).named()


@given(perfect(least=1), perfect(least=1))
def test_the_total_is_the_sum(one: Scene, other: Scene) -> None:
    """The counts of the rooms add up."""
    lose(one, 0)
    repeat(other, 0)
    verdicts = [one.judged(), other.judged()]
    assert total(verdicts).lost == 1
    assert total(verdicts).duplicated == 1
    assert total(verdicts).said == sum(verdict.said for verdict in verdicts)
