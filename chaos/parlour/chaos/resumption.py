"""The times to resume: for how long a fault held up the clients that it hit.

This module owns that measure and its percentiles: the longest delay of a message that was said during the fault, in
all and since a broker last told the client where to go. It is pure. It must never blame a fault for a message said
before it began, nor for one said long after its end.
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
"""Seconds after the end of a fault in which a message may still be late because of it."""

SEVERE = (Kind.SUSPEND_LOG, Kind.STOP_NODE, Kind.KILL_NODE, Kind.CUT_CONNECTION, Kind.DRAIN)
"""The faults that hold clients up longest, the longest first: without a log nothing is heard, and the others hit the
client's own node or connection."""

LOGLESS = (Kind.SUSPEND_LOG, Kind.RESTART_REDIS)
"""Faults during which nothing can be posted."""


@dataclass(frozen=True)
class DoneFault:
    """A fault that was done, and the clients that it hit. Times are in seconds since the Unix epoch."""

    kind: Kind
    what: str
    """The names of the parts to which it was done."""
    began: float
    ended: float
    clients: tuple[str, ...]
    """The names of the clients."""


@dataclass(frozen=True)
class Heard:
    """What one client saw in one room: the records, and when, in seconds since the Unix epoch."""

    records: Sequence[Record]
    times: Sequence[float]


@dataclass(frozen=True)
class Times:
    """Percentiles of the clients' times, in seconds; None if there were no clients."""

    p50: float | None
    p99: float | None
    longest: float | None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Times:
        """Return the percentiles of these times."""
        ordered = sorted(seconds)
        return cls(*(percentile(ordered, percent) for percent in (50, 99, 100)))


@dataclass(frozen=True)
class Resumption:
    """The faults of one kind, and how long they held up the clients that they hit."""

    kind: Kind
    done: int
    clients: int
    """Clients that were hit and for whom messages came meanwhile, counted once for each fault."""
    resumed: Times
    """The delays since a message was said; if nothing could be posted, since the fault began."""
    answered: Times
    """The same, but since a broker last told the client where to go, if that was later."""


def resumptions(
    done: Iterable[DoneFault], heard: Mapping[str, Sequence[Heard]], answers: Mapping[str, Sequence[float]]
) -> list[Resumption]:
    """Return the times for each kind of fault that was done, from what each client saw in its rooms, by name.

    `answers` tells when a broker told each client where to go, in order, in seconds since the Unix epoch.

    A fault held a client up for the longest delay of a message that was said from the beginning of the fault until a
    second after its end. Delays during a more severe fault that hit the same client count for that fault alone.
    Messages that were never seen are the judge's matter.
    """
    done = list(done)
    delays: dict[Kind, list[tuple[float, float]]] = {}
    counts: dict[Kind, int] = {}
    for fault in done:
        counts[fault.kind] = counts.get(fault.kind, 0) + 1
        for client in fault.clients:
            severer = [
                (other.began, other.ended + AFTER)
                for other in done
                if _weight(other) > _weight(fault) and client in other.clients
            ]
            told = answers.get(client, ())
            found = [
                delay for room in heard.get(client, ()) if (delay := _delay(fault, room, told, severer)) is not None
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
    return len(SEVERE) - SEVERE.index(fault.kind) if fault.kind in SEVERE else 0


def _delay(
    fault: DoneFault, room: Heard, answers: Sequence[float], severer: Sequence[tuple[float, float]]
) -> tuple[float, float] | None:
    """Return the longest delay of a message that was said during the fault, in all and since the last answer.

    Leaves out messages that were on their way during one of the more severe faults, given by beginning and end. Returns
    None if no message is left. If nothing could be posted during the fault, the delay of the first message counts from
    the beginning of the fault, since its time is that of the log's return.
    """
    longest: tuple[float, float] | None = None
    first = fault.kind in LOGLESS
    until = fault.ended + AFTER
    for index in range(bisect_left(room.times, fault.began), len(room.times)):
        said, seen = room.records[index].at / 1000, room.times[index]
        if said > until + AFTER:
            break  # Times rise in the order of the log, but for posts that nodes received at nearly the same moment.
        if fault.began <= said <= until:
            since, first = fault.began if first else said, False
            told = bisect_right(answers, seen)
            answered = answers[told - 1] if told else 0.0
            whole, rest = seen - since, seen - max(since, answered)
            if longest is not None and whole <= longest[0] and rest <= longest[1]:
                continue
            if not any(began <= seen and said <= ended for began, ended in severer):
                before = longest or (0.0, 0.0)
                longest = max(before[0], whole), max(before[1], rest)
    return longest
