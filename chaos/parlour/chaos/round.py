"""One round: a cluster is started, clients talk, faults are done, all settles, and the verdict is given.

This module owns the course of a round and its outcome; it runs on a thread of its own, so that the main thread is free
to hear that it shall stop. It must never judge before all had the time to be delivered.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from parlour.chaos.assignment_listener import AssignmentListener
from parlour.chaos.client_fleet import ClientFleet
from parlour.chaos.cluster import OWN_REDIS, Cluster
from parlour.chaos.director import Director, unlink
from parlour.chaos.judge import Evidence, RoomVerdict, judge, total
from parlour.chaos.marks import mark_of, marks_in
from parlour.chaos.memories import Recollection
from parlour.chaos.mix import Mix, mix
from parlour.chaos.newcomers import read_at, read_logs
from parlour.chaos.resumption import DoneFault, Resumption, resumptions
from parlour.chaos.schedule import Kind, schedule
from parlour.wire.errors import ParlourError

__all__ = ["Options", "Outcome", "play"]

ANSWERED = 75.0
"""Seconds after the talk in which posts may still be acknowledged: their own deadline is shorter."""

LISTENING = 0.5
"""Seconds for which all listen for what should not come, such as a message seen again."""


SEEN = 0.9
"""Fraction of the texts in the log that are found in its files, at least: some are cut by the edge of a page."""


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
    mix: tuple[Mix, ...]
    """What the clients spoke and posted."""
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
        recollection, evidence = _settle(cluster, clients, stop)
        verdicts = [judge(each) for each in evidence]
        clients.leave()
        _check(stop)
        failures = [*director.failures, *cluster.bugs(), *recollection.troubles, *_blindness(evidence)]
        if not total(verdicts).said:
            failures.append("nothing was said: let it last longer")
        return Outcome(
            options=options,
            mix=tuple(mix(clients.dialects, [post for each in evidence for post in each.said])),
            rooms=tuple(verdicts),
            resumptions=tuple(resumptions(director.done, recollection.heard(), answers.times)),
            done=tuple(sorted(director.done, key=lambda done: done.began)),
            left_out=director.left_out,
            returns=recollection.returns,
            began=began,
            failures=tuple(failures),
            complaints=tuple(cluster.complaints()),
        )


def _settle(cluster: Cluster, clients: ClientFleet, stop: threading.Event) -> tuple[Recollection, list[Evidence]]:
    """Wait until all that was posted is acknowledged and heard; return what the clients remember, and each room's."""
    clients.answered(ANSWERED)
    _check(stop)
    logs = read_logs(cluster.brokers, clients.acknowledged(), stop)
    tops = {room: log[-1].offset if log else 0 for room, log in logs.items()}
    clients.heard_out(tops)
    stop.wait(LISTENING)
    recollection = clients.recollection()
    newcomers = {f"a newcomer at {node}": read_at(address, tops, stop) for node, address in cluster.nodes.items()}
    stored = marks_in(cluster.stored())
    return recollection, [
        Evidence(
            room,
            recollection.said(room),
            log,
            recollection.seen(room),
            {who: rooms[room] for who, rooms in newcomers.items()},
            recollection.shown(room),
            stored,
        )
        for room, log in logs.items()
    ]


def _blindness(evidence: Sequence[Evidence]) -> list[str]:
    """Return what to say if the files of the log do not show the texts that are kept: nobody could see others there."""
    stored = {mark for each in evidence for mark in each.stored}
    kept = {mark for each in evidence for record in each.log if (mark := mark_of(record.text))}
    if not stored or len(kept & stored) > SEEN * len(kept):
        return []
    return [f"of {len(kept)} texts that are kept only {len(kept & stored)} were found in the files of the log"]


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise ParlourError("the round was ended before its time")
