"""Carries out the schedule: what is done to the cluster, when, and what it was done to.

This module owns a thread for each fault that is under way, and the record of those done. Its `run` is called on the
round's thread. It must never leave a part halted, nor one away while the cluster is open, nor take the last of a kind.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from parlour.chaos.client_fleet import ClientFleet
from parlour.chaos.cluster import Cluster, Link
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
"""Fraction of its batches that a node which drops them keeps from the relay."""

TURN = 20.0
"""Seconds that a fault waits for its part, and for others of that kind, to be back; then it is left out."""

RESTING = 2.0
"""Seconds that a part is left alone once it is back, however long that took."""

FINISHING = 120.0
"""Seconds that the last faults may take until all parts are back."""

ASKING = 3.0
"""Seconds that a broker has to answer."""


class Director:
    """Does the faults of a schedule to a cluster while the clients talk.

    Attributes:
        done: what was done.
        failures: what went otherwise than it must, a line each.
        left_out: how many faults were not done, as the machine is too slow to have parts back for so many.
    """

    def __init__(
        self, cluster: Cluster, clients: ClientFleet, stop: threading.Event, tell: Callable[[str], object]
    ) -> None:
        """Prepare to do faults; `stop` ends all waiting, `tell` is given a line about each fault that begins."""
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
        self._under: set[str] = set()  # parts that something is done to
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
        """Do the faults, each at its time, and return when `duration` seconds are over and all parts are back."""
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
        """Return for how many seconds there is talk yet."""
        return max(0.0, self._until - time.monotonic())

    def _do(self, fault: Fault) -> None:
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
        """Let nothing else be done to the part, nor anything to the last of its kind, if there are several.

        The schedule has it so, but on a busy machine parts come back later than it reckons with. Faults that wait for
        long are left out: they would pile up. Returns whether it is this one's turn.
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
        """Return the clients that a fault hits: those of the node, or all."""
        if fault.kind in (Kind.KILL_BROKER, Kind.RESTART_REDIS, Kind.SUSPEND_LOG, Kind.REBALANCE):
            return tuple(self._clients.names)
        return self._clients.at(what)

    def _record(
        self, fault: Fault, what: str, began: float, clients: Iterable[str], ended: float | None = None
    ) -> None:
        self.done.append(DoneFault(fault.kind, what, began, time.time() if ended is None else ended, tuple(clients)))

    # --- what can be done -------------------------------------------------------------------------------------

    def _kill(self, fault: Fault, what: str) -> None:
        part, clients, began = self._cluster.parts[what], self._hit(fault, what), time.time()
        part.kill()
        killed = time.time()
        self._stop.wait(fault.seconds)
        part.start()
        # A node's clients need not wait until it is back; who needs what else was killed, may have to.
        self._record(fault, what, began, clients, killed if fault.kind is Kind.KILL_NODE else None)

    def _halt(self, fault: Fault, what: str) -> None:
        clients, began = self._hit(fault, what), time.time()
        self._cluster.parts[what].halt(fault.seconds)
        # Some may have come while it stood still, and waited with the others.
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
        """Let the node come back as one that loses batches, which it goes on doing until it is started again."""
        self._end(what)
        self._cluster.parts[what].start("--relay-loss", LOSS)
        began = time.time()
        self._stop.wait(fault.seconds)
        # What it loses is missing at the other nodes.
        self._record(fault, what, began, set(self._clients.names) - set(self._clients.at(what)))

    def _unlink(self, fault: Fault, what: str) -> None:
        """Let one node, or two, not hear the other. What lasts for good is still so when all is judged."""
        links = _links(fault)
        clients, began = {name for deaf, _ in links for name in self._clients.at(deaf)}, time.time()
        unlink(self._cluster, fault)
        self._stop.wait(self._left() if math.isinf(fault.seconds) else fault.seconds)
        if not math.isinf(fault.seconds):
            self._cluster.switch(links, LinkState.OPEN)
        # Some may have come meanwhile.
        self._record(fault, what, began, clients.union(*(self._clients.at(deaf) for deaf, _ in links)))

    def _suspend(self, fault: Fault, what: str) -> None:
        """Take the room log away, or let it not answer."""
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
        """Drain a node; that it does not end in order is a failure."""
        status = self._cluster.parts[what].terminate()
        if status != 0 and not self._stop.is_set():
            self.failures.append(f"{what} did not end in order when it was told to: status {status}")

    def _rebalance(self, fault: Fault, what: str) -> None:
        clients, began = self._hit(fault, what), time.time()
        ask(self._cluster.brokers, Rebalance(), ASKING)
        self._record(fault, "all", began, clients)


def unlink(cluster: Cluster, fault: Fault) -> None:
    """Cut the links of a fault, or let them be cut when the cluster starts."""
    cluster.switch(_links(fault), LinkState.SILENT if fault.silent else LinkState.CLOSED)


def _links(fault: Fault) -> list[Link]:
    one, other = (f"n{number}" for number in fault.targets)
    return [(one, other), (other, one)] if fault.mutual else [(one, other)]
