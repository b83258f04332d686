"""The load generator: one run of it against one server gives one outcome.

This module owns the generator's process and the talk with it; it runs on the bench's own thread. It must do nothing
while the generator measures, because they share a core.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from bench.cell import Cell
from bench.machine import generator_core, on_core
from bench.peers import BUILD
from bench.server import Server

__all__ = ["LoadError", "Outcome", "run"]


class LoadError(Exception):
    """The generator could not measure; the text tells why."""


@dataclass(frozen=True)
class Outcome:
    """The figures of one run; times are in seconds, latencies in microseconds."""

    seconds: float
    posts: int
    deliveries: int
    server_user: float
    server_system: float
    own: float
    """The generator's own processor time: if it is near `seconds`, the generator and not the server was the limit."""
    p50: int
    p99: int
    max: int
    slowest_room: float
    """Deliveries in the slowest room ÷ the mean of all rooms."""
    drained: bool
    drained_in: float
    missing: int
    disordered: int
    entered_in: float = 0.0

    @property
    def rate(self) -> float:
        """Deliveries a second."""
        return self.deliveries / self.seconds

    @property
    def cost(self) -> float:
        """The server's processor seconds per million deliveries."""
        return (self.server_user + self.server_system) / max(1, self.deliveries) * 1e6

    def check(self) -> None:
        """Raise LoadError if a delivery was lost, doubled or out of order, or if there was none at all."""
        if not self.drained:
            raise LoadError(f"{self.missing:,} deliveries were missing 60 s after the last post")
        if not self.deliveries:
            raise LoadError("no delivery came within the measured time")
        if self.missing or self.disordered:
            raise LoadError(f"{self.missing:,} deliveries missing, {self.disordered:,} out of order or doubled")


def run(
    server: Server,
    cell: Cell,
    *options: str,
    warm: float = 1.0,
    measure: float = 3.0,
    on_ready: Callable[[], None] = lambda: None,
) -> Outcome:
    """Let the generator measure a cell for `measure` seconds after `warm` seconds; raises LoadError.

    `options` are further arguments of the generator. `on_ready` is called when all members are in, before any sends.
    """
    command = [str(BUILD / "load"), server.protocol, str(server.port), *cell.arguments(), *options]
    command += [f"warm={warm * 1000:.0f}", f"measure={measure * 1000:.0f}", f"entering={server.entering}"]
    command += [f"pid={pid}" for pid in server.pids]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",  # It may quote a server's bytes.
        preexec_fn=on_core(generator_core()),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for line in server.tickets(cell.rooms * cell.members):
                process.stdin.write(line + "\n")
            process.stdin.flush()
            ready = process.stdout.readline()
            if ready:
                on_ready()
                process.stdin.write("go\n")
                process.stdin.flush()
            said = process.stdout.readline()
        except BrokenPipeError:
            ready = said = ""
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()  # It tries once more to write the rest.
        except BaseException:
            process.kill()
            raise
        if not said:
            raise LoadError(process.stderr.read().strip().removeprefix("load: ") or "the generator said nothing")
        return Outcome(**json.loads(said), entered_in=float(ready.removeprefix("ready ")))
