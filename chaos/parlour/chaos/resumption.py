"""How long a fault held up the clients that it hit: for each the longest that a message said then was late.

This module owns that measure and its percentiles. It is pure. It must never blame a fault for a message said before
it began, nor for one said long after it was over.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from parlour.chaos.judge import Line
from parlour.chaos.schedule import Kind
from parlour.client.verdict import percentile

__all__ = ["Done", "Heard", "Resumption", "resumptions"]

AFTER = 1.0
"""Seconds after the end of a fault in which what is said may still be late because of it."""

DIRECT = (Kind.STOP_NODE, Kind.KILL_NODE, Kind.CUT_CONNECTION, Kind.DRAIN)
"""Faults that hit a client's own node or connection, and not what is behind it; the first holds up the longest."""


@dataclass(frozen=True)
class Done:
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
    """What one client saw in one room: the lines, and when, in seconds since the Unix epoch."""

    lines: Sequence[Line]
    times: Sequence[float]


@dataclass(frozen=True)
class Resumption:
    """The faults of one kind, and how long until the streams of the clients that they hit went on, in seconds."""

    kind: Kind
    done: int
    clients: int
    """Clients that were hit and to whom something was said meanwhile, counted once for each fault."""
    p50: float | None
    p99: float | None
    longest: float | None


def resumptions(done: Iterable[Done], heard: Mapping[str, Sequence[Heard]]) -> list[Resumption]:
    """Return the measure for each kind that was done, from what each client (by name) saw in its rooms.

    A client's stream was held up for as long as the latest message was late that was said from the beginning of the
    fault until a second after its end; but who was hit at that time in a more direct way, or one that holds up longer,
    is counted for that alone. What was never seen at all is the judge's matter.
    """
    done = list(done)
    delays: dict[Kind, list[float]] = {}
    counts: dict[Kind, int] = {}
    for fault in done:
        counts[fault.kind] = counts.get(fault.kind, 0) + 1
        for client in fault.clients:
            if any(_covers(other, fault) and client in other.clients for other in done):
                continue
            found = [delay for room in heard.get(client, ()) if (delay := _delay(fault, room)) is not None]
            delays.setdefault(fault.kind, []).extend([max(found)] if found else [])
    result: list[Resumption] = []
    for kind in Kind:
        if kind in counts:
            ordered = sorted(delays.get(kind, []))
            p50, p99, longest = (percentile(ordered, percent) for percent in (50, 99, 100))
            result.append(Resumption(kind, counts[kind], len(ordered), p50, p99, longest))
    return result


def _covers(other: Done, fault: Done) -> bool:
    """Whether another fault, whose effects may have lasted at that time, is to blame rather than this one."""
    together = other.began <= fault.ended + AFTER and fault.began <= other.ended + AFTER
    return together and _weight(other) > _weight(fault)


def _weight(fault: Done) -> int:
    return len(DIRECT) - DIRECT.index(fault.kind) if fault.kind in DIRECT else 0


def _delay(fault: Done, room: Heard) -> float | None:
    """Return the longest delay of what was said during the fault, None if nothing was.

    While the log is away nothing can be said, and what was posted counts as said when it is back: then the time until
    the first message is the delay.
    """
    longest: float | None = None
    until = fault.ended + AFTER
    for index in range(bisect_left(room.times, fault.began), len(room.times)):
        said = room.lines[index].at / 1000
        if said > until + AFTER:
            break  # In the log's order times rise, but for what nodes took in at nearly the same moment.
        if fault.began <= said <= until:
            since = fault.began if fault.kind is Kind.RESTART_REDIS and longest is None else said
            longest = max(longest or 0.0, room.times[index] - since)
    return longest
