"""The director: it does one fault at a time to a part, and none to the last part of a kind."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import pytest

from parlour.chaos import director as module
from parlour.chaos.director import Director
from parlour.chaos.part import Part
from parlour.chaos.reaper import Reaper
from parlour.chaos.schedule import Fault, Kind
from support.waiting import eventually

GOOD = "import sys; print('ready', flush=True); sys.stdin.read()"


@dataclass
class Parts:
    """Stands in for a cluster and its clients."""

    parts: dict[str, Part]

    def deaths(self) -> list[str]:
        """Return a line for each part that ended by itself."""
        return [death for part in self.parts.values() if (death := part.died())]

    def at(self, node: str) -> tuple[str, ...]:
        """Return the clients at a node."""
        return ()

    def running(self) -> int:
        """Return how many parts run now."""
        processes = [part._process for part in self.parts.values()]
        return sum(process is not None and process.poll() is None for process in processes)


def test_faults_are_left_out_on_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault whose part comes back too late is left out, and that is no failure."""
    monkeypatch.setattr(module, "RESTING", 0.05)
    monkeypatch.setattr(module, "TURN", 0.2)
    stop = threading.Event()
    with Reaper() as reaper, Part("n1", [sys.executable, "-c", GOOD], reaper, stop) as part:
        part.start()
        nodes = cast(Any, Parts({"n1": part}))
        director = Director(nodes, nodes, stop, lambda line: None)
        director.run([Fault(0.0, Kind.KILL_NODE, (1,), 1.5), Fault(0.1, Kind.KILL_NODE, (1,), 1.5)], 0.0)
    assert (len(director.done), director.left_out, director.failures) == (1, 1, [])


def test_last_part_of_a_kind_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three nodes to be killed at the same moment, one waits until another is back."""
    monkeypatch.setattr(module, "RESTING", 0.05)
    stop = threading.Event()
    with Reaper() as reaper, ExitStack() as closing:
        names = ("n1", "n2", "n3")
        nodes = Parts({name: Part(name, [sys.executable, "-c", GOOD], reaper, stop) for name in names})
        for part in nodes.parts.values():
            closing.enter_context(part).start()
        director = Director(cast(Any, nodes), cast(Any, nodes), stop, lambda line: None)
        faults = [Fault(0.0, Kind.KILL_NODE, (number,), 0.3) for number in (1, 2, 3)]
        thread = threading.Thread(target=director.run, args=(faults, 0.0))
        thread.start()
        least: list[int] = [3]

        def over() -> bool:
            least.append(nodes.running())
            return not thread.is_alive()

        eventually(over, 30, "all is done")
        thread.join()
    assert min(least) == 1
    assert director.failures == []
    assert sorted(done.what for done in director.done) == ["n1", "n2", "n3"]
