"""The director carries out the schedule of faults, and notes which clients each fault hit.

This module owns a thread for each fault that is under way, and the list of the faults done. The round's thread calls
`run`. It must never leave a part halted or dead when it returns, nor do a fault to the last part of a kind.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from parlour.chaos.client_fleet import ClientFleet
from parlour.chaos.cluster import Link, TrialCluster
from parlour.chaos.proxy import LinkState
from parlour.chaos.resumption import DoneFault
from parlour.chaos.schedule import Fault, Kind
from parlour.runtime.broker_rpc import ask
from parlour.runtime.locks import make_lock
from parlour.runtime.threads import join_all, spawn
from parlour.wire.control import Rebalance
from parlour.wire.errors import ParlourError

__all__ = ["Director", "unlink"]

LOSS = "0.3"
"""Fraction of its batches that a node with lossy relay drops."""

TURN = 20.0
"""Seconds that a fault waits until its part, and another of that kind, are well; after that it is left out."""

RESTING = 2.0
"""Seconds without a fault for a part that has just come back."""

FINISHING = 120.0
"""Seconds within which all parts must be back after the last fault."""

ASKING = 3.0
"""Seconds that a broker has to answer."""


class Director:
    """Does the faults of a schedule to a cluster while the clients talk.

    Attributes:
        done: the faults that were done.
        failures: what went wrong, a line each.
        left_out: how many faults were not done, because parts came back too late on a slow machine.
    """

    def __init__(
        self, cluster: TrialCluster, clients: ClientFleet, stop: threading.Event, tell: Callable[[str], object]
    ) -> None:
        """Prepare to do faults; `stop` ends all waiting, `tell` receives a line when a fault begins."""
        self.done: list[DoneFault] = []
        self.failures: list[str] = []
        self.left_out = 0
        self._cluster = cluster
        self._clients = clients
        self._stop = stop
        self._tell = tell
        self._threads: list[threading.Thread] = []
        # Guards _under and left_out. Rank 5.
        self._lock = make_lock(5, "director")
        self._changed = threading.Condition(self._lock)
        self._under: set[str] = set()  # parts to which a fault is being done
        self._acts: dict[Kind, Callable[[Fault, str], None]] = {
            Kind.KILL_NODE: self._kill,
            Kind.KILL_BROKER: self._kill,
            Kind.RESTART_REDIS: self._kill,
            Kind.STOP_NODE: self._halt,
            Kind.CUT_CONNECTION: self._cut,
            Kind.DROP_RELAY: self._drop,
            Kind.CUT_RELAY: self._unlink,
            Kind.DRAIN: self._drain,
            Kind.REBALANCE: self._rebalance,
            Kind.SUSPEND_LOG: self._suspend,
        }
        self._until = 0.0

    def run(self, faults: Sequence[Fault], duration: float) -> None:
        """Do each fault at its time; return when `duration` seconds are over and all parts are back."""
        began = time.monotonic()
        self._until = began + duration
        try:
            for number, fault in enumerate(faults, 1):
                if self._stop.wait(max(0.0, began + fault.at - time.monotonic())):
                    break
                self._threads.append(spawn(f"fault-{number}-{fault.kind}", self._do, fault))
                self.failures += self._cluster.deaths()
            self._stop.wait(self._left())
        finally:
            join_all(self._threads, FINISHING)
        self.failures += self._cluster.deaths()

    def _left(self) -> float:
        """Return for how many more seconds the clients talk."""
        return max(0.0, self._until - time.monotonic())

    def _do(self, fault: Fault) -> None:
        """Do one fault when its part is free, and wait until the part is back."""
        what = self._what(fault)
        part = self._cluster.parts.get(what)
        if part is not None and not self._take(part.name):
            return
        try:
            self._tell(f"{fault.kind} {what}".strip())
            self._acts[fault.kind](fault, what)
            if part is not None:
                self._stop.wait(RESTING)
        except (ParlourError, OSError) as error:
            if not self._stop.is_set():
                self.failures.append(f"{fault.kind} {what}: {error}")
        finally:
            with self._changed:
                self._under.discard(what)
                self._changed.notify_all()

    def _take(self, name: str) -> bool:
        """Reserve the part for one fault, so that at least one other part of its kind stays well, if there is one.

        The schedule plans so, but on a busy machine parts come back later than planned. A fault that waits too long is
        left out, since faults would pile up. Returns whether the part is reserved.
        """
        most = max(1, sum(other[0] == name[0] for other in self._cluster.parts) - 1)

        def free() -> bool:
            under = sum(other[0] == name[0] for other in self._under)
            return self._stop.is_set() or (name not in self._under and under < most)

        with self._changed:
            mine = self._changed.wait_for(free, TURN)
            if mine:
                self._under.add(name)
            else:
                self.left_out += 1
        return mine

    def _what(self, fault: Fault) -> str:
        letter = {Kind.KILL_BROKER: "b", Kind.CUT_CONNECTION: "c"}.get(fault.kind, "n")
        if fault.kind in (Kind.RESTART_REDIS, Kind.SUSPEND_LOG):
            return "redis" if self._cluster.file is None else "log"
        return " ".join(f"{letter}{number}" for number in fault.targets)

    def _hit(self, fault: Fault, what: str) -> tuple[str, ...]:
        """Return the names of the clients that a fault hits: those at the node, or all."""
        if fault.kind in (Kind.KILL_BROKER, Kind.RESTART_REDIS, Kind.SUSPEND_LOG, Kind.REBALANCE):
            return tuple(self._clients.names)
        return self._clients.at(what)

    def _record(
        self, fault: Fault, what: str, began: float, clients: Iterable[str], ended: float | None = None
    ) -> None:
        self.done.append(DoneFault(fault.kind, what, began, time.time() if ended is None else ended, tuple(clients)))

    # --- the faults -------------------------------------------------------------------------------------------

    def _kill(self, fault: Fault, what: str) -> None:
        part, clients, began = self._cluster.parts[what], self._hit(fault, what), time.time()
        part.kill()
        killed = time.time()
        self._stop.wait(fault.seconds)
        part.start()
        # Clients of a killed node go to another at once; a killed broker or Redis holds clients up until it is back.
        self._record(fault, what, began, clients, killed if fault.kind is Kind.KILL_NODE else None)

    def _halt(self, fault: Fault, what: str) -> None:
        clients, began = self._hit(fault, what), time.time()
        self._cluster.parts[what].halt(fault.seconds)
        # Clients that came while it was halted waited with the others.
        self._record(fault, what, began, {*clients, *self._clients.at(what)})

    def _cut(self, fault: Fault, what: str) -> None:
        began = time.time()
        clients = self._cluster.cut(what.split(), fault.upwards)
        self._record(fault, what, began, clients)

    def _drain(self, fault: Fault, what: str) -> None:
        clients, began = self._hit(fault, what), time.time()
        self._end(what)
        self._record(fault, what, began, clients)
        self._stop.wait(fault.seconds)
        self._cluster.parts[what].start()

    def _drop(self, fault: Fault, what: str) -> None:
        """Start the node again as one that drops batches; it does so until its next start."""
        self._end(what)
        self._cluster.parts[what].start("--relay-loss", LOSS)
        began = time.time()
        self._stop.wait(fault.seconds)
        # The batches that it drops are missing at the other nodes.
        self._record(fault, what, began, set(self._clients.names) - set(self._clients.at(what)))

    def _unlink(self, fault: Fault, what: str) -> None:
        """Cut the relay link between two nodes, one way or both; an endless cut stays until the round is judged."""
        links = _links(fault)
        clients, began = {name for deaf, _ in links for name in self._clients.at(deaf)}, time.time()
        unlink(self._cluster, fault)
        self._stop.wait(self._left() if math.isinf(fault.seconds) else fault.seconds)
        if not math.isinf(fault.seconds):
            self._cluster.switch(links, LinkState.OPEN)
        # Clients may have come meanwhile.
        self._record(fault, what, began, clients.union(*(self._clients.at(deaf) for deaf, _ in links)))

    def _suspend(self, fault: Fault, what: str) -> None:
        """Take the room log away, or keep it from answering."""
        clients, began = self._hit(fault, what), time.time()
        file = self._cluster.file
        if file is not None:
            with file.locked() if fault.silent else file.moved():
                self._stop.wait(fault.seconds)
        elif fault.silent:
            self._cluster.parts[what].halt(fault.seconds)
        else:
            self._cluster.parts[what].kill()
            self._stop.wait(fault.seconds)
            self._cluster.parts[what].start()
        self._record(fault, what, began, clients)

    def _end(self, what: str) -> None:
        """Drain a node; it is a failure if the node does not end with status 0."""
        part = self._cluster.parts[what]
        status = part.terminate()
        if status != 0 and not self._stop.is_set():
            words = part.last_words()
            self.failures.append(f"{what} did not end in order when it was told to: status {status}, {words}")

    def _rebalance(self, fault: Fault, what: str) -> None:
        clients, began = self._hit(fault, what), time.time()
        ask(self._cluster.brokers, Rebalance(), ASKING)
        self._record(fault, "all", began, clients)


def unlink(cluster: TrialCluster, fault: Fault) -> None:
    """Cut the links of a fault; before the start of the cluster, have them cut from the start."""
    cluster.switch(_links(fault), LinkState.SILENT if fault.silent else LinkState.CLOSED)


def _links(fault: Fault) -> list[Link]:
    one, other = (f"n{number}" for number in fault.targets)
    return [(one, other), (other, one)] if fault.mutual else [(one, other)]
