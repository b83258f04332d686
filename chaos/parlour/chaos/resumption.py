"""How long a fault held up the clients that it hit: for each the longest that a message said then was late.

This module owns that measure and its percentiles, also of what is left of it after a broker's answer. It is pure. It
must never blame a fault for a message said before it began, nor for one said long after it was over.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from parlour.chaos.records import Record
from parlour.chaos.schedule import Kind
from parlour.chaos.verdict import percentile

__all__ = ["DoneFault", "Heard", "Resumption", "Times", "resumptions"]

AFTER = 1.0
"""Seconds after the end of a fault in which what is said may still be late because of it."""

GRAVE = (Kind.SUSPEND_LOG, Kind.STOP_NODE, Kind.KILL_NODE, Kind.CUT_CONNECTION, Kind.DRAIN)
"""Faults that hold up longer than all others, the longest first: without a log nobody is heard, and the rest hit a
client's own node or connection, not what is behind it."""

LOGLESS = (Kind.SUSPEND_LOG, Kind.RESTART_REDIS)
"""Faults during which nothing can be said."""


@dataclass(frozen=True)
class DoneFault:
    """A fault that was done, and to whom. Times are in seconds since the Unix epoch, as nodes stamp messages."""

    kind: Kind
    what: str
    """What it was done to, in words."""
    began: float
    ended: float
    clients: tuple[str, ...]
    """The names of the clients that it hit."""


@dataclass(frozen=True)
class Heard:
    """What one client saw in one room: the records, and when, in seconds since the Unix epoch."""

    records: Sequence[Record]
    times: Sequence[float]


@dataclass(frozen=True)
class Times:
    """How long it took the clients, in seconds; None if there were none."""

    p50: float | None
    p99: float | None
    longest: float | None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Times:
        """Return them for these clients."""
        ordered = sorted(seconds)
        return cls(*(percentile(ordered, percent) for percent in (50, 99, 100)))


@dataclass(frozen=True)
class Resumption:
    """The faults of one kind, and how long until the streams of the clients that they hit went on."""

    kind: Kind
    done: int
    clients: int
    """Clients that were hit and to whom something was said meanwhile, counted once for each fault."""
    resumed: Times
    """Since a message was said, or could not be."""
    answered: Times
    """The same, but since a broker told the client where to go, if that was later."""


def resumptions(
    done: Iterable[DoneFault], heard: Mapping[str, Sequence[Heard]], answers: Mapping[str, Sequence[float]]
) -> list[Resumption]:
    """Return the measure for each kind that was done, from what each client (by name) saw in its rooms.

    `answers` tells when each was told by a broker where to go, in order, in seconds since the Unix epoch.

    A client's stream was held up for as long as the latest message was late that was said from the beginning of the
    fault until a second after its end; but what it waited for while it was hit by a graver one is counted for that
    alone. What was never seen at all is the judge's matter.
    """
    done = list(done)
    delays: dict[Kind, list[tuple[float, float]]] = {}
    counts: dict[Kind, int] = {}
    for fault in done:
        counts[fault.kind] = counts.get(fault.kind, 0) + 1
        for client in fault.clients:
            graver = [
                (other.began, other.ended + AFTER)
                for other in done
                if _weight(other) > _weight(fault) and client in other.clients
            ]
            told = answers.get(client, ())
            found = [
                delay for room in heard.get(client, ()) if (delay := _delay(fault, room, told, graver)) is not None
            ]
            if found:
                delays.setdefault(fault.kind, []).append(
                    (max(whole for whole, _ in found), max(rest for _, rest in found))
                )
    result: list[Resumption] = []
    for kind in Kind:
        if kind in counts:
            times = delays.get(kind, [])
            resumed, answered = Times.of(whole for whole, _ in times), Times.of(rest for _, rest in times)
            result.append(Resumption(kind, counts[kind], len(times), resumed, answered))
    return result


def _weight(fault: DoneFault) -> int:
    return len(GRAVE) - GRAVE.index(fault.kind) if fault.kind in GRAVE else 0


def _delay(
    fault: DoneFault, room: Heard, answers: Sequence[float], graver: Sequence[tuple[float, float]]
) -> tuple[float, float] | None:
    """Return the longest delay of what was said during the fault, and that since the last answer; None if nothing was.

    Messages on their way during one of the `graver` faults, from its beginning to its end, are left out.

    While the log is away nothing can be said, and what was posted counts as said when it is back: then the time until
    the first message is the delay.
    """
    longest: tuple[float, float] | None = None
    first = fault.kind in LOGLESS
    until = fault.ended + AFTER
    for index in range(bisect_left(room.times, fault.began), len(room.times)):
        said, seen = room.records[index].at / 1000, room.times[index]
        if said > until + AFTER:
            break  # In the log's order times rise, but for what nodes took in at nearly the same moment.
        if fault.began <= said <= until:
            since, first = fault.began if first else said, False
            told = bisect_right(answers, seen)
            answered = answers[told - 1] if told else 0.0
            whole, rest = seen - since, seen - max(since, answered)
            if longest is not None and whole <= longest[0] and rest <= longest[1]:
                continue
            if not any(began <= seen and said <= ended for began, ended in graver):
                before = longest or (0.0, 0.0)
                longest = max(before[0], whole), max(before[1], rest)
    return longest
