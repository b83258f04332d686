"""What was said and acknowledged, against what each observer heard: lost, twice, out of order, altered or on time.

This module owns the rules by which a delivery is judged. It is pure: it is called on any thread once all is over, and
all it needs is given to it. It must never forgive a fault because another one explains it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from parlour.chaos.chatlog import SHOWN
from parlour.wire.records import session_of_id

__all__ = ["Line", "Tally", "Verdict", "faults", "judge", "percentile", "summary"]


class Line(NamedTuple):
    """A message, as its sender knows it from its acknowledgement, or as an observer heard it."""

    at: float
    """When it was said, or heard, on the same monotonic clock, in seconds."""
    offset: int
    id: str
    by: str
    text: str
    kind: str = ""


@dataclass(frozen=True)
class Tally:
    """What one observer heard of what was said."""

    node: str
    received: int
    """Lines that were heard at least once."""
    lost: int
    duplicated: int
    """Messages heard again, and lines heard under an id that was never acknowledged, as they were said again."""
    reordered: int
    """Messages heard after one of a higher offset, and lines heard after one that was said later."""
    differing: int
    """Lines heard with another offset, name, text or kind than what was said; equal texts have equal bytes."""
    foreign: int
    """Messages of others in the room. They are no fault, but none may come twice or out of order either."""
    latencies: tuple[float, ...]
    """Milliseconds from saying a line to hearing it, in ascending order."""

    @property
    def faults(self) -> dict[str, int]:
        """What must be 0."""
        return {
            "lost": self.lost,
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "differing": self.differing,
        }


@dataclass(frozen=True)
class Verdict:
    """How one log went in one room."""

    file: str
    room: str
    clients: int
    """Nicks, each of them a client."""
    lines: int
    """Lines in the log."""
    said: int
    """Lines that were tried; fewer than `lines` if the replay was given up."""
    acknowledged: int
    seconds: float
    """From the first entry of the log to the last acknowledgement."""
    observers: tuple[Tally, ...]
    failures: tuple[str, ...]
    """What went wrong on the way, a line each."""
    unread: tuple[int, ...] = ()
    """Numbers of the file's lines that fit no format of a log."""
    mended: tuple[int, ...] = ()
    """Numbers of the file's lines in which U+FFFD stands for a broken character."""


def judge(node: str, said: Sequence[Line], heard: Iterable[Line]) -> Tally:
    """Compare what was said and acknowledged, in the log's order, with what came to an observer, in its order."""
    places = {line.id: place for place, line in enumerate(said)}
    sessions = {session_of_id(line.id) for line in said}
    seen: set[str] = set()
    counts: Counter[str] = Counter()
    latencies: list[float] = []
    last_offset, last_place = 0, -1
    for message in heard:
        place = places.get(message.id)
        if message.id in seen or (place is None and session_of_id(message.id) in sessions):
            counts["duplicated"] += 1
            continue
        seen.add(message.id)
        counts["reordered"] += message.offset <= last_offset or (place is not None and place < last_place)
        last_offset = max(last_offset, message.offset)
        if place is None:
            counts["foreign"] += 1
            continue
        last_place = max(last_place, place)
        line = said[place]
        counts["differing"] += message[1:] != line[1:]
        latencies.append(1000 * (message.at - line.at))
    return Tally(
        node=node,
        received=len(latencies),
        lost=len(said) - len(latencies),
        duplicated=counts["duplicated"],
        reordered=counts["reordered"],
        differing=counts["differing"],
        foreign=counts["foreign"],
        latencies=tuple(sorted(latencies)),
    )


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Return the least number that is no less than `percent` of them (nearest rank); None if there are none."""
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1] if ordered else None


def faults(verdicts: Sequence[Verdict]) -> str | None:
    """Return all that was not perfect, in one line, or None."""
    found: Counter[str] = Counter()
    for verdict in verdicts:
        found["not acknowledged"] += verdict.lines - verdict.acknowledged
        for tally in verdict.observers:
            found.update(tally.faults)
    failures = [failure for verdict in verdicts for failure in verdict.failures]
    parts = [f"{count} {fault}" for fault, count in found.items() if count] + failures[:1]
    return "; ".join(parts) or None


def summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return everything for programs, latencies in milliseconds: sums, then each log, then each room's observers."""
    return {
        "perfect": faults(verdicts) is None,
        "clients": sum(verdict.clients for verdict in verdicts),
        "lines": sum(verdict.lines for verdict in verdicts),
        "unread": sum(len(verdict.unread) for verdict in verdicts),
        "said": sum(verdict.said for verdict in verdicts),
        "acknowledged": sum(verdict.acknowledged for verdict in verdicts),
        "seconds": round(sum(verdict.seconds for verdict in verdicts), 3),
        **_latency([latency for verdict in verdicts for tally in verdict.observers for latency in tally.latencies]),
        "logs": [
            {
                "file": verdict.file,
                "room": verdict.room,
                "clients": verdict.clients,
                "lines": verdict.lines,
                "unread": len(verdict.unread),
                "unread_lines": list(verdict.unread[:SHOWN]),
                "mended": len(verdict.mended),
                "mended_lines": list(verdict.mended[:SHOWN]),
                "said": verdict.said,
                "acknowledged": verdict.acknowledged,
                "seconds": round(verdict.seconds, 3),
                "failures": list(verdict.failures),
            }
            for verdict in verdicts
        ],
        "observers": [
            {
                "room": verdict.room,
                "node": tally.node,
                "received": tally.received,
                **tally.faults,
                "foreign": tally.foreign,
                **_latency(tally.latencies),
            }
            for verdict in verdicts
            for tally in verdict.observers
        ],
    }


def _latency(latencies: Iterable[float]) -> dict[str, float | None]:
    ordered = sorted(latencies)
    return {f"latency_p{percent}": _rounded(percentile(ordered, percent)) for percent in (50, 99)}


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)
