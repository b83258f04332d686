"""The state of a detached cluster: `up --detach` saves it so that `down` and a later `up` find the processes.

This module owns one folder per broker's address: the state file, the lock that lets one command at a time use the
folder, and the paths of the parts' output. It runs on the main thread. It must never treat an ended process as running.
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
from parlour.runtime.addresses import canonical_address
from parlour.runtime.broker_rpc import DEFAULT_BROKER
from parlour.runtime.folders import PRIVATE, home_folder, open_private
from parlour.runtime.log_urls import default_log
from parlour.wire.errors import ParlourError, UnavailableError

__all__ = ["SavedState", "Setup", "StateFolder"]

LOCK_TIMEOUT = 60.0
"""Seconds to wait while another `up --detach` or `down` uses the folder. Their own deadlines are shorter."""


_SIGNIN = (
    "registration",
    "guests",
    "post_rate",
    "address_rate",
    "jwt_key",
    "jwks",
    "jwt_name_claim",
    "jwt_operator_claim",
)


@dataclass(frozen=True)
class Setup:
    """The options of `up`: how the parts of a cluster run."""

    # How many nodes; their names are n1, n2, and so on.
    nodes: int = 2
    # The room log's URL; None for the default.
    log: str | None = None
    # The messages that each room keeps, as `--retain` takes it; None for all.
    retain: str | None = None
    # Who may come in, as the options of `node` of these names take it; None for their defaults.
    registration: str | None = None
    guests: str | None = None
    post_rate: float | None = None
    address_rate: float | None = None
    jwt_key: str | None = None
    jwks: str | None = None
    jwt_name_claim: str | None = None
    jwt_operator_claim: str | None = None
    # HOST:PORT where clients reach the first node, the others at the next ports; None for 10 ports above the broker.
    listen: str | None = None
    # HOST:PORT where the broker serves metrics, the nodes at the next ports; None for no metrics.
    metrics: str | None = None
    # How the parts log, and the lowest level; None for "info" in the background and "warning" in the foreground.
    log_format: str = "text"
    log_level: str | None = None

    @property
    def signin(self) -> list[str]:
        """The options of a node that tell who may come in."""
        given = {name: getattr(self, name) for name in _SIGNIN}
        return [
            word
            for name, value in given.items()
            if value is not None
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]

    @property
    def names(self) -> list[str]:
        """The names of the nodes."""
        return [f"n{number}" for number in range(1, self.nodes + 1)]


class SavedState(NamedTuple):
    """The content of a state file.

    Attributes:
        setup: the options of the cluster; None if there is no state file.
        parts: all processes, whether they still run or not.
        ports: the port of each node for clients, by the node's name.
    """

    setup: Setup | None
    parts: list[Child]
    ports: dict[str, int]

    @property
    def running(self) -> list[Child]:
        """The processes that still run."""
        return [part for part in self.parts if part.alive]


class StateFolder:
    """The folder with the state of the cluster whose broker is at this address."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        state = home_folder(platformdirs.user_state_path, "XDG_STATE_HOME")
        self.path = state / re.sub(r"[^\w.]+", "-", canonical_address(broker)).strip("-")
        self._file = self.path / "cluster.json"

    def output(self, name: str) -> Path:
        """Return the path of the file for the output of the part with this name."""
        return self.path / f"{name}.out"

    def log(self, name: str) -> Path:
        """Return the path of the log of the part with this name; the part itself keeps that file small."""
        return self.path / f"{name}.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for one command; raises UnavailableError if another command does not unlock it in time."""
        deadline = time.monotonic() + LOCK_TIMEOUT
        try:
            for folder in (self.path.parent, self.path):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
            for each in self.path.iterdir():
                each.chmod(PRIVATE)  # earlier versions let other users read these files
            file = open(self.path / "lock", "wb", opener=open_private)  # noqa: SIM115 - closed below
        except OSError as error:
            raise ParlourError(f"cannot write to {self.path} ({error.strerror}): make it yours") from None
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
        """Save the processes, their setup and the nodes' ports; the file is replaced as a whole."""
        parts = [{"name": c.name, "pid": c.pid, "started": c.started, "output": c.output} for c in children]
        draft = self._file.with_suffix(".draft")
        with open(draft, "w", encoding="utf-8", opener=open_private) as file:
            json.dump({"broker": self._broker, **asdict(setup), "ports": dict(ports), "parts": parts}, file, indent=1)
        os.replace(draft, self._file)

    def load(self) -> SavedState:
        """Return the saved state; raises ParlourError if the file cannot be read or is not a state file."""
        try:
            saved: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            parts = [Child(p["name"], int(p["pid"]), p["started"], p["output"]) for p in saved["parts"]]
            ports = {name: int(port) for name, port in dict(saved.get("ports", {})).items()}
            # An older parlour saved the log alone.
            known = {field.name: saved[field.name] for field in fields(Setup) if field.name in saved}
            setup = Setup(**{"nodes": max(1, sum(part.name != "broker" for part in parts)), **known})
            if "nodes" not in known and setup.log is None:
                # It used one default log for all brokers.
                setup = replace(setup, log=default_log(DEFAULT_BROKER)[0])
        except FileNotFoundError:
            return SavedState(None, [], {})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ParlourError(f"cannot read {self._file} ({error}): remove it") from None
        return SavedState(setup, parts, ports)

    def forget(self) -> None:
        """Remove the state file; the output of the parts stays."""
        self._file.unlink(missing_ok=True)
