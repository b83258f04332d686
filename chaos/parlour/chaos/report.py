"""The outcome of a round, as tables for people and as one object for programs.

This module owns the words and the rounding. It runs on the main thread. It must never leave out a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from parlour.chaos.cluster import OWN_REDIS
from parlour.chaos.judge import FAULTS, total
from parlour.chaos.mix import KINDS
from parlour.chaos.people_judge import RIGHTS_FAULTS
from parlour.chaos.resumption import Times
from parlour.chaos.round import Options, RoundOutcome
from parlour.runtime.output import counted

__all__ = ["show", "summary"]

TROUBLES = 10
"""Failures and examples of faults that the tables show at most; programs get all."""


def show(outcome: RoundOutcome, console: Console) -> None:
    """Print the tables."""
    options = outcome.options
    console.print(
        f"seed {options.seed}: {counted(options.nodes, 'node')}, {counted(options.brokers, 'broker')}, "
        f"{counted(options.clients, 'client')} in "
        f"{counted(options.rooms, 'room')}, {options.duration:g} s, log {_log(options)}"
    )
    console.print()
    console.print(_mix(outcome))
    console.print()
    console.print(_rooms(outcome))
    console.print()
    console.print(_people(outcome))
    console.print()
    console.print(_faults(outcome))
    console.print()
    left_out = f" ({outcome.left_out} were left out, as this machine is too slow)" if outcome.left_out else ""
    console.print(f"{len(outcome.done)} faults were done{left_out}, clients came back {outcome.returns} times")
    trouble = [
        *outcome.failures,
        *total((*outcome.rooms, *outcome.people.conversations)).examples,
        *outcome.people.examples,
    ]
    for line in trouble[:TROUBLES]:
        console.print(Text(line, "red"))
    if len(trouble) > TROUBLES:
        console.print(f"… and {len(trouble) - TROUBLES} more (--json tells all)")


def _log(options: Options) -> str:
    """Return the kind of the log, without its URL, which may hold a password."""
    if options.log is None:
        return "sqlite"
    return "redis, a server of our own" if options.log == OWN_REDIS else options.log.partition(":")[0]


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _mix(outcome: RoundOutcome) -> Table:
    table = _table("dialect", "clients", *KINDS)
    for each in outcome.mix:
        table.add_row(str(each.dialect), *map(str, (each.clients, *(each.posts[kind] for kind in KINDS))))
    return table


def _rooms(outcome: RoundOutcome) -> Table:
    table = _table("room", "members", "said", "acked", "refused", "logged", "deleted", "heard", *FAULTS)
    rooms = [*outcome.rooms, *outcome.people.conversations]
    rooms.append(total(rooms))
    for room in rooms:
        counts = (
            room.members,
            room.said,
            room.acknowledged,
            room.refused,
            room.logged,
            room.deleted,
            room.heard,
        )
        table.add_row(
            Text(room.room),
            *map(str, counts),
            *_judged(room.faults),
        )
    return table


def _people(outcome: RoundOutcome) -> Table:
    people = outcome.people
    table = _table("accounts", "said", "acked", "refused", "changes", *RIGHTS_FAULTS)
    counts = (people.accounts, people.said, people.acknowledged, people.refused, people.changes)
    table.add_row(*map(str, counts), *_judged(people.faults))
    return table


def _judged(faults: Mapping[str, int]) -> list[Text]:
    return [Text(str(count), "bold red" if count else "green") for count in faults.values()]


def _faults(outcome: RoundOutcome) -> Table:
    table = _table(
        "fault", "done", "clients hit", "resumed p50", "p99", "max (s)", "since answer p50", "p99", "max (s)"
    )
    for kind in outcome.resumptions:
        times = [seconds for each in (kind.resumed, kind.answered) for seconds in (each.p50, each.p99, each.longest)]
        table.add_row(
            str(kind.kind),
            str(kind.done),
            str(kind.clients),
            *("-" if seconds is None else f"{seconds:.3f}" for seconds in times),
        )
    return table


def summary(outcome: RoundOutcome) -> dict[str, Any]:
    """Return everything for programs, with times in seconds: sums, rooms, kinds of faults, faults."""
    options = outcome.options
    return {
        "perfect": not outcome.imperfections,
        "seed": options.seed,
        "nodes": options.nodes,
        "brokers": options.brokers,
        "clients": options.clients,
        "duration": options.duration,
        "log": _log(options),
        "reconnected": outcome.returns,
        "left_out": outcome.left_out,
        "posts": [{"dialect": each.dialect, "clients": each.clients, **each.posts} for each in outcome.mix],
        "total": asdict(total(outcome.rooms)),
        "rooms": [asdict(room) for room in outcome.rooms],
        "people": asdict(outcome.people),
        "resumed": [
            {
                "fault": kind.kind,
                "done": kind.done,
                "clients": kind.clients,
                **_times(kind.resumed),
                "since_answer": _times(kind.answered),
            }
            for kind in outcome.resumptions
        ],
        "faults": [
            {
                "fault": done.kind,
                "what": done.what,
                "at": _rounded(done.began - outcome.began),
                "lasted": _rounded(done.ended - done.began),
                "clients": len(done.clients),
            }
            for done in outcome.done
        ],
        "failures": list(outcome.failures),
        "complaints": list(outcome.complaints),
    }


def _times(times: Times) -> dict[str, float | None]:
    return {"p50": _rounded(times.p50), "p99": _rounded(times.p99), "max": _rounded(times.longest)}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
