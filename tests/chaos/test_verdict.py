"""The verdict on a replay: it finds nothing in a perfect delivery, and each kind of fault in others."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.verdict import Line, ObserverTally, Verdict, faults, judge, percentile, summary
from support.strategies import texts, words


@st.composite
def deliveries(draw: st.DrawFn, least: int = 1) -> tuple[list[Line], list[Line]]:
    """Draw lines of some sessions in one room, and what a perfect observer hears, with lines of others in between."""
    said: list[Line] = []
    heard: list[Line] = []
    offset = draw(st.integers(0, 1000))
    for number in range(draw(st.integers(least, 12))):
        offset += 1
        at = draw(st.floats(0, 1e6))
        session = draw(st.sampled_from(["s1", "s2", "s-3"]))
        line = Line(at, offset, f"{session}-{number}", draw(words), draw(texts))
        said.append(line)
        heard.append(line._replace(at=at + draw(st.floats(0, 10))))
        if draw(st.booleans()):
            offset += 1
            heard.append(Line(at, offset, f"other-{number}", "stranger", draw(texts)))
    return said, heard


def wrong(tally: ObserverTally) -> dict[str, int]:
    """Return the names of the faults that were found."""
    return {fault: count for fault, count in tally.faults.items() if count}


def own(said: list[Line], heard: list[Line]) -> list[int]:
    """Return the places of the lines among the messages that were heard."""
    ids = {line.id for line in said}
    return [index for index, line in enumerate(heard) if line.id in ids]


@given(deliveries())
def test_perfect_delivery(delivery: tuple[list[Line], list[Line]]) -> None:
    """Every line once, in order and unchanged is no fault, whatever others say in between."""
    said, heard = delivery
    tally = judge("n1", said, heard)
    assert wrong(tally) == {}
    assert tally.received == len(said)
    assert tally.foreign == len(heard) - len(said)
    assert len(tally.latencies) == len(said)


@given(deliveries(), st.data())
def test_missing_lines_are_lost(delivery: tuple[list[Line], list[Line]], data: st.DataObject) -> None:
    """Each line that an observer never hears is lost, and nothing else is wrong."""
    said, heard = delivery
    missing = data.draw(st.sets(st.sampled_from(own(said, heard)), min_size=1))
    tally = judge("n1", said, [line for index, line in enumerate(heard) if index not in missing])
    assert wrong(tally) == {"lost": len(missing)}
    assert tally.received == len(said) - len(missing)


@given(deliveries(), st.data())
def test_repeated_messages_are_duplicated(delivery: tuple[list[Line], list[Line]], data: st.DataObject) -> None:
    """A message that comes again at any later time is duplicated, also one of another member; nothing else is wrong."""
    said, heard = delivery
    first = data.draw(st.integers(0, len(heard) - 1))
    again = data.draw(st.integers(first + 1, len(heard)))
    tally = judge("n1", said, [*heard[:again], heard[first], *heard[again:]])
    assert wrong(tally) == {"duplicated": 1}


@given(deliveries(), st.data())
def test_line_logged_twice_is_duplicated(delivery: tuple[list[Line], list[Line]], data: st.DataObject) -> None:
    """A line that was posted again after it was logged is there twice for everybody."""
    said, heard = delivery
    line = said[data.draw(st.integers(0, len(said) - 1))]
    session = line.id.rpartition("-")[0]
    copy = line._replace(id=f"{session}-999", offset=heard[-1].offset + 1)
    assert wrong(judge("n1", said, [*heard, copy])) == {"duplicated": 1}


@given(deliveries(least=2), st.data())
def test_late_messages_are_reordered(delivery: tuple[list[Line], list[Line]], data: st.DataObject) -> None:
    """One message that comes after others of higher offsets is reordered, once."""
    said, heard = delivery
    early = data.draw(st.integers(0, len(heard) - 2))
    late = data.draw(st.integers(early + 1, len(heard) - 1))
    moved = [*heard[:early], *heard[early + 1 : late + 1], heard[early], *heard[late + 1 :]]
    assert wrong(judge("n1", said, moved)) == {"reordered": 1}


@given(deliveries(least=2), st.data())
def test_other_order_is_reordered(delivery: tuple[list[Line], list[Line]], data: st.DataObject) -> None:
    """Offsets in another order than the lines were posted are a fault, even if an observer hears them ascending."""
    said, heard = delivery
    place = data.draw(st.integers(0, len(said) - 2))
    first, second = said[place], said[place + 1]
    swapped = {first.id: second.offset, second.id: first.offset}
    said = [line._replace(offset=swapped.get(line.id, line.offset)) for line in said]
    heard = sorted(
        (line._replace(offset=swapped.get(line.id, line.offset)) for line in heard), key=lambda line: line.offset
    )
    assert wrong(judge("n1", said, heard)) == {"reordered": 1}


@given(deliveries(), st.data())
def test_changed_lines_differ(delivery: tuple[list[Line], list[Line]], data: st.DataObject) -> None:
    """One character, another name or another kind is enough."""
    said, heard = delivery
    index = data.draw(st.sampled_from(own(said, heard)))
    line = heard[index]
    altered = data.draw(
        st.sampled_from(
            [
                line._replace(text=line.text + " "),
                line._replace(by="eve"),
                line._replace(text="\0" + line.text),
                line._replace(kind="action"),
            ]
        )
    )
    assert wrong(judge("n1", said, [*heard[:index], altered, *heard[index + 1 :]])) == {"differing": 1}


def test_other_offset_differs() -> None:
    """Sender and observer must agree on the offset of a line."""
    line = Line(0.0, 7, "s-1", "ada", "hi")
    assert wrong(judge("n1", [line], [line._replace(offset=8)])) == {"differing": 1}


@pytest.mark.parametrize(
    ("numbers", "percent", "expected"),
    [
        ([], 50, None),
        ([3.0], 99, 3.0),
        ([1.0, 2.0], 50, 1.0),
        (list(range(1, 101)), 99, 99),
        (list(range(1, 102)), 99, 100),
    ],
)
def test_percentiles_by_nearest_rank(numbers: list[float], percent: float, expected: float | None) -> None:
    """A percentile is one of the numbers, never one between them."""
    assert percentile(numbers, percent) == expected


def verdict(acknowledged: int = 2, failures: tuple[str, ...] = (), lost: int = 0) -> Verdict:
    """Return a verdict on two lines in a room of one observer."""
    tally = ObserverTally(
        "n1", acknowledged - lost, lost, 0, 0, 0, 3, tuple(float(n) for n in range(acknowledged - lost))
    )
    return Verdict("day.txt", "day", 5, 2, 2, acknowledged, 1.5, (tally,), failures)


def test_summary() -> None:
    """Numbers of several logs are added up, each log and each observer is listed, and JSON can hold everything."""
    perfect = [verdict(), verdict()]
    assert faults(perfect) is None
    told = json.loads(json.dumps(summary(perfect)))
    assert told["perfect"] is True
    assert (told["clients"], told["lines"], told["said"], told["acknowledged"], told["seconds"]) == (10, 4, 4, 4, 3.0)
    assert (told["latency_p50"], told["latency_p99"]) == (0.0, 1.0)
    assert [log["room"] for log in told["logs"]] == ["day", "day"]
    assert told["observers"][1] == {
        "room": "day",
        "node": "n1",
        "received": 2,
        "lost": 0,
        "duplicated": 0,
        "reordered": 0,
        "differing": 0,
        "foreign": 3,
        "latency_p50": 0.0,
        "latency_p99": 1.0,
    }


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (verdict(acknowledged=1), "1 not acknowledged"),
        (verdict(lost=2), "2 lost"),
        (verdict(failures=("day.txt:7: ada: no place", "and more")), "day.txt:7: ada: no place"),
        (verdict(1, ("why",), 1), "1 not acknowledged; 1 lost; why"),
    ],
)
def test_one_fault_is_enough(bad: Verdict, told: str) -> None:
    """One bad log makes the whole replay fail, and the error says why."""
    assert faults([verdict(), bad]) == told
    assert summary([verdict(), bad])["perfect"] is False
