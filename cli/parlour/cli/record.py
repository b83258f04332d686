"""What `up --detach` writes down so that `down` finds it: one folder per broker's address in the user's state folder.

This module owns that folder: the record, the lock that lets one command at a time work on it, and the place of the
processes' output. It runs on the main thread. It must never take a process that has ended for one that runs.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from parlour.cli.child import Child
from parlour.node.log.opening import default_log
from parlour.runtime.addresses import canonical_address
from parlour.runtime.broker_rpc import DEFAULT_BROKER
from parlour.runtime.folders import PRIVATE, home_folder, open_private
from parlour.wire.errors import ParlourError, UnavailableError

__all__ = ["Record", "Recorded", "Setup"]

LOCK_TIMEOUT = 60.0
"""Seconds to wait for another `up --detach` or `down`, each of which has shorter deadlines of its own."""


@dataclass(frozen=True)
class Setup:
    """How the parts of a cluster are to run, as `up` was asked."""

    # How many nodes; they are named n1, n2, and so on.
    nodes: int = 2
    # The room log's URL; None for the default.
    log: str | None = None
    # What is kept of each room; None for all.
    retain: str | None = None
    # HOST:PORT where clients reach the first node, each other node on a port above; None for ports above the broker's.
    listen: str | None = None
    # HOST:PORT where the broker serves its figures, each node on a port above; None for nowhere.
    metrics: str | None = None
    # How the parts log, and from which level on; None for what suits the way in which they run.
    log_format: str = "text"
    log_level: str | None = None

    @property
    def names(self) -> list[str]:
        """The names of the nodes."""
        return [f"n{number}" for number in range(1, self.nodes + 1)]


class Recorded(NamedTuple):
    """What a record says: how the cluster was to run (None without a record), all processes, dead or alive, and ports.

    The ports are those at which clients reach the nodes, by the nodes' names.
    """

    setup: Setup | None
    parts: list[Child]
    ports: dict[str, int]

    @property
    def running(self) -> list[Child]:
        """The processes that still run."""
        return [part for part in self.parts if part.alive]


class Record:
    """The record of the cluster whose broker is at this address."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        state = home_folder(platformdirs.user_state_path, "XDG_STATE_HOME")
        self.folder = state / re.sub(r"[^\w.]+", "-", canonical_address(broker)).strip("-")
        self._path = self.folder / "cluster.json"

    def output(self, name: str) -> Path:
        """Return the path of the file that gets what the part of this name prints."""
        return self.folder / f"{name}.out"

    def log(self, name: str) -> Path:
        """Return the path of the log of the part of this name, which the part itself keeps small."""
        return self.folder / f"{name}.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one command; raises UnavailableError if another does not let go of it in time."""
        deadline = time.monotonic() + LOCK_TIMEOUT
        try:
            for folder in (self.folder.parent, self.folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
            for each in self.folder.iterdir():
                each.chmod(PRIVATE)  # of before, when others could read what nodes printed
            file = open(self.folder / "lock", "wb", opener=open_private)  # noqa: SIM115 - closed below
        except OSError as error:
            raise ParlourError(f"cannot write to {self.folder} ({error.strerror}): make it yours") from None
        with file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise UnavailableError(
                            f"another `parlour up` or `down` is at work on {self._broker}: try again when it is done"
                        ) from None
                time.sleep(0.05)
            yield

    def save(self, children: Sequence[Child], setup: Setup, ports: Mapping[str, int]) -> None:
        """Write the processes, their setup and the nodes' ports down, all or nothing."""
        parts = [{"name": c.name, "pid": c.pid, "started": c.started, "output": c.output} for c in children]
        draft = self._path.with_suffix(".draft")
        with open(draft, "w", encoding="utf-8", opener=open_private) as file:
            json.dump({"broker": self._broker, **asdict(setup), "ports": dict(ports), "parts": parts}, file, indent=1)
        os.replace(draft, self._path)

    def load(self) -> Recorded:
        """Return what is recorded; raises ParlourError for a file that is no record."""
        try:
            record: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            parts = [Child(p["name"], int(p["pid"]), p["started"], p["output"]) for p in record["parts"]]
            ports = {name: int(port) for name, port in dict(record.get("ports", {})).items()}
            # An older parlour wrote down the log alone.
            known = {field.name: record[field.name] for field in fields(Setup) if field.name in record}
            setup = Setup(**{"nodes": max(1, sum(part.name != "broker" for part in parts)), **known})
            if "nodes" not in known and setup.log is None:
                # For which one file was the default, whatever the broker.
                setup = replace(setup, log=default_log(DEFAULT_BROKER)[0])
        except FileNotFoundError:
            return Recorded(None, [], {})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ParlourError(f"cannot read {self._path} ({error}): remove it") from None
        return Recorded(setup, parts, ports)

    def forget(self) -> None:
        """Remove the record, leaving what the processes printed."""
        self._path.unlink(missing_ok=True)
