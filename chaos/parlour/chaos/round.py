"""One round: the cluster starts, clients talk, faults are done, everything settles, and the judge gives the verdict.

This module owns the course of a round and its outcome. It runs on a thread of its own, so that the main thread can
receive signals. It must never judge before everything had time to be delivered.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from parlour.chaos.assignment_listener import AssignmentListener
from parlour.chaos.client_fleet import ClientFleet
from parlour.chaos.cluster import OWN_REDIS, TrialCluster
from parlour.chaos.director import Director, unlink
from parlour.chaos.judge import Evidence, RoomVerdict, judge, total
from parlour.chaos.marks import mark_of, marks_in
from parlour.chaos.memories import Recollection
from parlour.chaos.mix import Mix, mix
from parlour.chaos.newcomers import read_at, read_logs
from parlour.chaos.people_group import PeopleGroup
from parlour.chaos.people_judge import PeopleVerdict, judge_people
from parlour.chaos.resumption import DoneFault, Resumption, resumptions
from parlour.chaos.schedule import Kind, schedule
from parlour.wire.errors import ParlourError

__all__ = ["Options", "RoundOutcome", "play"]

ANSWERED = 75.0
"""Seconds after the talk within which posts may be acknowledged; the deadline of a post is shorter."""

ANSWERED_IF_FORGETFUL = 10.0
"""The same where clients lose their place: the answer to a post may be in the part that its client never receives."""

LISTENING = 0.5
"""Seconds to wait for records that should not come, such as duplicates."""

SEEN = 0.9
"""Fraction of the texts in the log that must be found in its files; the edge of a page cuts some."""


@dataclass(frozen=True)
class Options:
    """The options of a round."""

    nodes: int
    brokers: int
    clients: int
    rooms: int
    duration: float
    """Seconds of talk."""
    log: str | None
    """A URL; OWN_REDIS starts a server; None makes a file."""
    seed: int
    kinds: tuple[Kind, ...]
    forgetful: bool
    """Whether the proxy makes clients lose their place when they come back, so that the round must fail."""


@dataclass(frozen=True)
class RoundOutcome:
    """The outcome of a round."""

    options: Options
    mix: tuple[Mix, ...]
    """What the clients spoke and posted."""
    rooms: tuple[RoomVerdict, ...]
    people: PeopleVerdict
    resumptions: tuple[Resumption, ...]
    done: tuple[DoneFault, ...]
    left_out: int
    """Faults that were not done, because the machine was too slow."""
    returns: int
    """How often clients came back after a loss."""
    began: float
    """When the talk began, in seconds since the Unix epoch."""
    failures: tuple[str, ...]
    """What went wrong with parts and clients, a line each."""
    complaints: tuple[str, ...]
    """What the parts wrote to standard error, a line each; no fault."""

    @property
    def imperfections(self) -> list[str]:
        """What was not perfect, a few words each."""
        rooms = total((*self.rooms, *self.people.conversations))
        faults = Counter(rooms.faults) + Counter(self.people.faults)
        return [f"{count} {name}" for name, count in faults.items()] + list(self.failures)


def play(options: Options, stop: threading.Event, tell: Callable[[str], object]) -> RoundOutcome:
    """Play a round, remove everything that it started, and return the outcome. `tell` receives a line on each step.

    Raises ParlourError if the round could not be played, or `stop` ended it.
    """
    faults = schedule(
        options.seed,
        options.kinds,
        nodes=options.nodes,
        brokers=options.brokers,
        clients=options.clients,
        duration=options.duration,
    )
    # A log that the round did not make may hold rooms of earlier rounds.
    prefix = "" if options.log in (None, OWN_REDIS) else f"chaos-{secrets.token_hex(4)}-"
    rooms = [f"{prefix}room-{number}" for number in range(1, options.rooms + 1)]
    tell("the cluster starts")
    cluster = TrialCluster(
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
        tell("the clients enter")
        clients = ClientFleet(cluster, options.clients, rooms, options.seed, stop)
        clients.enter()
        people = PeopleGroup(cluster, prefix, options.seed, stop)
        people.enter()
        director = Director(cluster, clients, stop, tell)
        began = time.time()
        with AssignmentListener(cluster.brokers) as answers:
            clients.talk()
            people.talk()
            director.run(faults, options.duration)
            clients.stop_talking()
            people.stop_talking()
        tell("everything settles")
        answered = ANSWERED_IF_FORGETFUL if options.forgetful else ANSWERED
        recollection, evidence = _settle(cluster, clients, answered, stop)
        verdicts = [judge(each) for each in evidence]
        memories = people.memories(answered)
        people.leave()
        clients.leave()
        _check(stop)
        failures = [
            *director.failures,
            *cluster.bugs(),
            *recollection.troubles,
            *memories.troubles,
            *_search_failure(evidence),
        ]
        if not total(verdicts).said:
            failures.append("nothing was said: give a longer --duration")
        return RoundOutcome(
            options=options,
            mix=tuple(mix(clients.dialects, [post for each in evidence for post in each.said])),
            rooms=tuple(verdicts),
            people=judge_people(memories),
            resumptions=tuple(resumptions(director.done, recollection.heard(), answers.times)),
            done=tuple(sorted(director.done, key=lambda done: done.began)),
            left_out=director.left_out,
            returns=recollection.returns,
            began=began,
            failures=tuple(failures),
            complaints=tuple(cluster.complaints()),
        )


def _settle(
    cluster: TrialCluster, clients: ClientFleet, answered: float, stop: threading.Event
) -> tuple[Recollection, list[Evidence]]:
    """Wait until all posts are answered and all records seen; return the memories, and the evidence of each room.

    Waits `answered` seconds for the answers, at most.
    """
    clients.answered(answered)
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


def _search_failure(evidence: Sequence[Evidence]) -> list[str]:
    """Return a line if texts are not found in the files of the log: then deleted texts would not be found either."""
    stored = {mark for each in evidence for mark in each.stored}
    kept = {mark for each in evidence for record in each.log if (mark := mark_of(record.text))}
    if not stored or len(kept & stored) > SEEN * len(kept):
        return []
    return [f"only {len(kept & stored)} of {len(kept)} texts were found in the files of the log"]


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise ParlourError("the round was ended early")
