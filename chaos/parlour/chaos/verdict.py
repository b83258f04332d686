"""The verdict on a replay: compares the acknowledged lines with what each observer heard.

This module owns the rules by which a delivery is judged. It is pure; any thread may call it when the replay is over. It
must never forgive a fault because another fault explains it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from parlour.chaos.chatlog import SHOWN
from parlour.wire.records import session_of_id

__all__ = ["Line", "ObserverTally", "Verdict", "faults", "judge", "percentile", "summary"]


class Line(NamedTuple):
    """A line as its sender knows it from the acknowledgement, or as an observer heard it."""

    at: float
    """When it was posted or heard, in seconds on the same monotonic clock."""
    offset: int
    id: str
    by: str
    text: str
    kind: str = ""


@dataclass(frozen=True)
class ObserverTally:
    """The counts of one observer."""

    node: str
    received: int
    """Lines that it heard at least once."""
    lost: int
    duplicated: int
    """Messages heard twice, and lines heard under an id that was not acknowledged, since they were posted twice."""
    reordered: int
    """Messages heard after one with a higher offset, and lines heard after a line that was posted later."""
    differing: int
    """Lines heard with another offset, name, text or kind than acknowledged; equal texts have equal bytes."""
    foreign: int
    """Messages of others in the room. They are no fault, but must not come twice or out of order."""
    latencies: tuple[float, ...]
    """Milliseconds from posting a line to hearing it, in ascending order."""

    @property
    def faults(self) -> dict[str, int]:
        """The counts that must be 0."""
        return {
            "lost": self.lost,
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "differing": self.differing,
        }


@dataclass(frozen=True)
class Verdict:
    """The verdict on one log in one room."""

    file: str
    room: str
    clients: int
    """Nicks; each is a client."""
    lines: int
    """Lines in the log."""
    said: int
    """Lines that were posted; fewer than `lines` if the replay was given up."""
    acknowledged: int
    seconds: float
    """From the first entry of the log to the last acknowledgement."""
    observers: tuple[ObserverTally, ...]
    failures: tuple[str, ...]
    """What went wrong, a line each."""
    unread: tuple[int, ...] = ()
    """Numbers of lines in the file that fit no format."""
    mended: tuple[int, ...] = ()
    """Numbers of lines in the file in which U+FFFD replaces a broken character."""


def judge(node: str, said: Sequence[Line], heard: Iterable[Line]) -> ObserverTally:
    """Compare acknowledged lines, in the order of the log, with what an observer heard, in the order it came."""
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
    return ObserverTally(
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
    """Return the percentile of ascending numbers by the nearest rank; None if there are no numbers."""
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1] if ordered else None


def faults(verdicts: Sequence[Verdict]) -> str | None:
    """Return everything that was not perfect in one line, or None."""
    found: Counter[str] = Counter()
    for verdict in verdicts:
        found["not acknowledged"] += verdict.lines - verdict.acknowledged
        for tally in verdict.observers:
            found.update(tally.faults)
    failures = [failure for verdict in verdicts for failure in verdict.failures]
    parts = [f"{count} {fault}" for fault, count in found.items() if count] + failures[:1]
    return "; ".join(parts) or None


def summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return everything for programs, with latencies in milliseconds: sums, logs, observers."""
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
