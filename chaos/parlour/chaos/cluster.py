"""The cluster under test: brokers, nodes that share a room log, and the proxy between clients and nodes.

This module owns all processes, ports and files of a round, and removes them at the end. The round's thread enters and
closes the cluster; the threads of faults use its parts, one thread per part at a time. It must never touch a process,
server or file that it did not make.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import permutations

from parlour.chaos.logfile import LogFile
from parlour.chaos.part import Part, module, parlour
from parlour.chaos.ports import HOST, Ports
from parlour.chaos.proxy import FORGETFUL, LinkState
from parlour.chaos.reaper import Reaper
from parlour.chaos.server import Server
from parlour.runtime.locks import make_lock
from parlour.runtime.threads import join_all, spawn

__all__ = ["OWN_REDIS", "Link", "TrialCluster"]

Link = tuple[str, str]
"""A relay link: the node that listens, and the node that it listens to."""

OWN_REDIS = "redis://"
"""The URL, without a host, of a log in a Redis that the cluster starts."""

QUIET = ("--log-level", "error")
"""Options of brokers and nodes: they need not log that parts come and go, as a round makes them do so."""

OPEN = ("--post-rate", "0", "--registration", "open")
"""Options of nodes: the clients of a round post as fast as they can, and some make accounts."""

STARTED = 60.0
"""Seconds within which parts that start together must be ready."""


class TrialCluster:
    """All processes of a round. Enter the cluster to start them.

    Attributes:
        brokers: the addresses of the brokers.
        nodes: the addresses by which clients reach the nodes, by name.
        parts: each process by its name: `b1`, …, `n1`, …, and `redis` if the cluster starts one.
        folder: the folder for the files of all parts.
        file: the room log, if it is a file that the cluster made.
    """

    def __init__(
        self,
        nodes: int,
        brokers: int,
        log: str | None,
        stop: threading.Event,
        *,
        cuttable: bool,
        linked: bool,
        forgetful: bool,
    ) -> None:
        """Prepare a cluster; `log` is a URL, OWN_REDIS, or None for a file.

        `cuttable` puts the proxy between clients and nodes, `linked` between the relays of nodes.
        """
        self.brokers: list[str] = []
        self.nodes: dict[str, str] = {}
        self.parts: dict[str, Part] = {}
        self._nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self._count = brokers
        self._log = log
        self._stop = stop
        self._cuttable = cuttable or forgetful
        self._server: Server | None = None
        self._links: dict[Link, LinkState] = {}
        if linked:
            self._links = dict.fromkeys(permutations(self._nodes, 2), LinkState.OPEN)
        self._forgetful = forgetful
        self.file: LogFile | None = None
        self._opened = ExitStack()
        # Guards the talk with the proxy, a question and its answer. Rank 20.
        self._cutting = make_lock(20, "cutting")

    def __enter__(self) -> TrialCluster:
        """Start everything; raises ParlourError if a part does not start, and leaves nothing running then."""
        with self._opened:
            self._start()
            self._opened = self._opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all parts and remove their files."""
        self._opened.close()

    def _start(self) -> None:
        self._reaper = self._opened.enter_context(Reaper())
        self.folder = self._reaper.folder
        ports = Ports()
        log = self._log
        if log is None:
            self.file = LogFile(self.folder / "rooms.sqlite")
            log = self.file.url
        elif log == OWN_REDIS:
            self._server = Server(self._reaper, ports.take(), self._stop)
            self._enter(self._server).start()
            log = self._server.url
        for number in range(1, self._count + 1):
            address = f"{HOST}:{ports.take(3)}"
            self.brokers.append(address)
            self.add(f"b{number}", parlour("broker", "--bind", address, *QUIET)).start()
        nodes: list[Part] = []
        doors: list[str] = []
        relays = {name: ports.take() for name in self._nodes} if self._links else {}
        for name in self._nodes:
            listen, advertised = ports.take(), ports.take()
            self.nodes[name] = f"{HOST}:{advertised if self._cuttable else listen}"
            options = ["--name", name, "--log", log, "--listen", f"{HOST}:{listen}"]
            options += [option for broker in self.brokers for option in ("--broker", broker)]
            if self._cuttable:
                doors.append(f"{advertised}:{listen}")
                options += ["--advertise", f"{HOST}:{advertised}"]
            if relays:
                options += ["--relay", f"{HOST}:{relays[name]}"]
            for link, state in self._links.items():
                if link[0] == name:
                    port = ports.take()
                    doors.append(f"{_word(link)}:{state}:{port}:{relays[link[1]]}")
                    options += ["--relay-via", link[1], f"{HOST}:{port}"]
            nodes.append(self.add(name, parlour("node", *options, *OPEN, *QUIET)))
        if doors:
            arguments = [FORGETFUL, *doors] if self._forgetful else doors
            self.add("proxy", module("parlour.chaos.proxy", *arguments)).start()
        self.start(nodes)

    def add(self, name: str, command: Sequence[str]) -> Part:
        """Return a new part of this name, not started yet; it ends with the cluster."""
        return self._enter(Part(name, command, self._reaper, self._stop))

    def _enter(self, part: Part) -> Part:
        self.parts[part.name] = self._opened.enter_context(part)
        return part

    def start(self, parts: Sequence[Part]) -> None:
        """Start these parts at the same time, since each takes a while; raises the first error."""
        errors: list[BaseException] = []

        def start(part: Part) -> None:
            try:
                part.start()
            except BaseException as error:
                errors.append(error)

        join_all([spawn(f"starts-{part.name}", start, part) for part in parts], STARTED)
        if errors:
            raise errors[0]

    def cut(self, names: Sequence[str], upwards: bool) -> list[str]:
        """Reset the connections of these clients in the middle of a message; return the names of those that had one."""
        proxy = self.parts["proxy"]
        with self._cutting:
            for name in names:
                proxy.tell(f"{'up' if upwards else 'down'} {name}")
            return [answer for _ in names if (answer := proxy.hear())]

    def switch(self, links: Iterable[Link], state: LinkState) -> None:
        """Put relay links into this state; before the start, this is the state in which they start."""
        for link in links:
            self._links[link] = state
            if "proxy" in self.parts:
                with self._cutting:
                    self.parts["proxy"].tell(f"{state} {_word(link)}")
                    self.parts["proxy"].hear()

    def stored(self) -> bytes:
        """Return what the log has on disk, without journals for recovery; empty if the cluster did not make it."""
        store = self.file or self._server
        return store.contents() if store is not None else b""

    def deaths(self) -> list[str]:
        """Return a line for each part that has ended by itself since the last call."""
        return [death for part in self.parts.values() if (death := part.died())]

    def bugs(self) -> list[str]:
        """Return a line for each part that printed a traceback; no fault excuses one."""
        printed = {name: part.complaints() for name, part in self.parts.items()}
        return [
            f"{name} printed a traceback, that ends: {lines[-1]}"
            for name, lines in printed.items()
            if any(line.startswith("Traceback ") for line in lines)
        ]

    def complaints(self) -> list[str]:
        """Return all lines that the parts wrote to standard error."""
        return [f"{part.name}: {line}" for part in self.parts.values() for line in part.complaints()]


def _word(link: Link) -> str:
    return ">".join(link)
