"""What `up --detach` writes down so that `down` finds it: one folder per broker's address in the user's state folder.

This module owns that folder: the record, the lock that lets one command at a time work on it, and the place of the
processes' output. It runs on the main thread. It must never believe a record whose processes have ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from parlour.cli.child import Child
from parlour.wire.errors import ParlourError, UnavailableError

__all__ = ["Record"]

LOCK_TIMEOUT = 60.0
"""Seconds to wait for another `up --detach` or `down`, each of which has shorter deadlines of its own."""


class Record:
    """The record of the cluster whose broker is at this address."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        self.folder = platformdirs.user_state_path("parlour") / re.sub(r"[^\w.]+", "-", broker).strip("-")
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
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = (self.folder / "lock").open("wb")
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

    def save(self, children: Sequence[Child], log: str | None) -> None:
        """Write the processes down, all or nothing."""
        parts = [{"name": c.name, "pid": c.pid, "started": c.started, "output": c.output} for c in children]
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps({"broker": self._broker, "log": log, "parts": parts}, indent=1), encoding="utf-8")
        os.replace(draft, self._path)

    def load(self) -> list[Child]:
        """Return the recorded processes that still run."""
        try:
            record: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            parts = [Child(p["name"], int(p["pid"]), p["started"], p["output"]) for p in record["parts"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ParlourError(f"cannot read {self._path} ({error}): remove it") from None
        return [part for part in parts if part.alive]

    def forget(self) -> None:
        """Remove the record, leaving what the processes printed."""
        self._path.unlink(missing_ok=True)
