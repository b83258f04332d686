"""One round: a cluster is started, clients talk, faults are done, all settles, and the verdict is given.

This module owns the course of a round and its outcome; it runs on a thread of its own, so that the main thread is free
to hear that it shall stop. It must never judge before all had the time to be delivered.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from parlour.chaos.assignment_listener import AssignmentListener
from parlour.chaos.client_fleet import ClientFleet
from parlour.chaos.cluster import OWN_REDIS, Cluster
from parlour.chaos.director import Director, unlink
from parlour.chaos.judge import RoomVerdict, judge, total
from parlour.chaos.memories import Recollection
from parlour.chaos.records import Record
from parlour.chaos.resumption import DoneFault, Resumption, resumptions
from parlour.chaos.schedule import Kind, schedule
from parlour.wire.errors import ParlourError

__all__ = ["Options", "Outcome", "play"]

ANSWERED = 75.0
"""Seconds after the talk in which posts may still be acknowledged: their own deadline is shorter."""

LISTENING = 0.5
"""Seconds for which all listen for what should not come, such as a message seen again."""


@dataclass(frozen=True)
class Options:
    """What is to be played."""

    nodes: int
    brokers: int
    clients: int
    rooms: int
    duration: float
    """Seconds of talk."""
    log: str | None
    """A URL, OWN_REDIS for a server of the round's own, None for a file of its own."""
    seed: int
    kinds: tuple[Kind, ...]
    forgetful: bool
    """Whether clients are made to lose their place when they come back: a round that must fail."""


@dataclass(frozen=True)
class Outcome:
    """What came of a round."""

    options: Options
    rooms: tuple[RoomVerdict, ...]
    resumptions: tuple[Resumption, ...]
    done: tuple[DoneFault, ...]
    left_out: int
    """Faults that were not done: the machine was too slow for so many."""
    returns: int
    """Times that clients were connected again."""
    began: float
    """When the talk began, in seconds since the Unix epoch."""
    failures: tuple[str, ...]
    """What went wrong with parts and clients, a line each."""
    complaints: tuple[str, ...]
    """What the parts said about it, a line each; no fault."""

    @property
    def imperfections(self) -> list[str]:
        """What was not perfect, in words."""
        found = [f"{count} {name}" for name, count in total(self.rooms).faults.items() if count]
        return found + list(self.failures)


def play(options: Options, stop: threading.Event, tell: Callable[[str], object]) -> Outcome:
    """Play a round and return its outcome, with nothing left behind. `tell` is given a line on how it goes.

    Raises ParlourError if it could not be played, or was told by `stop` to end.
    """
    faults = schedule(
        options.seed,
        options.kinds,
        nodes=options.nodes,
        brokers=options.brokers,
        clients=options.clients,
        duration=options.duration,
    )
    # A log that is not ours may hold rooms of earlier rounds.
    prefix = "room" if options.log in (None, OWN_REDIS) else f"chaos-{secrets.token_hex(4)}"
    rooms = [f"{prefix}-{number}" for number in range(1, options.rooms + 1)]
    tell("the cluster starts")
    cluster = Cluster(
        options.nodes,
        options.brokers,
        options.log,
        stop,
        cuttable=Kind.CUT_CONNECTION in options.kinds,
        linked=Kind.CUT_RELAY in options.kinds,
        forgetful=options.forgetful,
    )
    for fault in faults:
        if fault.kind is Kind.CUT_RELAY and fault.at == 0.0:
            unlink(cluster, fault)
    with cluster:
        tell("the clients come in")
        clients = ClientFleet(cluster, options.clients, rooms, options.seed, stop)
        clients.come()
        director = Director(cluster, clients, stop, tell)
        began = time.time()
        with AssignmentListener(cluster.brokers) as answers:
            clients.talk()
            director.run(faults, options.duration)
            clients.stop_talking()
        tell("all settles")
        logs, recollection = _settle(clients, stop)
        verdicts = [judge(room, recollection.said(room), log, recollection.seen(room)) for room, log in logs.items()]
        clients.leave()
        _check(stop)
        failures = [*director.failures, *cluster.bugs(), *recollection.troubles]
        if not total(verdicts).said:
            failures.append("nothing was said: let it last longer")
        return Outcome(
            options=options,
            rooms=tuple(verdicts),
            resumptions=tuple(resumptions(director.done, recollection.heard(), answers.times)),
            done=tuple(sorted(director.done, key=lambda done: done.began)),
            left_out=director.left_out,
            returns=recollection.returns,
            began=began,
            failures=tuple(failures),
            complaints=tuple(cluster.complaints()),
        )


def _settle(clients: ClientFleet, stop: threading.Event) -> tuple[dict[str, list[Record]], Recollection]:
    """Wait until all that was said is acknowledged and heard; return the rooms' logs and what clients remember."""
    clients.answered(ANSWERED)
    _check(stop)
    logs = clients.logs()
    clients.heard_out({room: log[-1].offset if log else 0 for room, log in logs.items()})
    stop.wait(LISTENING)
    return logs, clients.recollection()


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise ParlourError("the round was ended before its time")
