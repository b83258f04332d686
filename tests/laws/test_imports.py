"""Who may import whom: the folders show the architecture only as long as nobody reaches across it."""

from __future__ import annotations

import subprocess
import sys

from support.source import PARTS, ROOT, hold, modules

MAY_IMPORT: dict[str, set[str]] = {
    "wire": set(),
    "runtime": {"wire"},
    "dialects": {"wire"},
    "directory": {"wire", "runtime"},
    "broker": {"wire", "runtime"},
    "node": {"wire", "runtime", "dialects", "directory"},
    "client": {"wire", "runtime"},
    "monitor": {"wire", "runtime"},
    "chaos": {"wire", "runtime", "client"},
    "simulate": {"wire", "runtime", "broker"},
    "cli": {"wire", "runtime", "directory", "broker", "node", "client", "monitor", "chaos", "simulate"},
}
"""What each part may know besides itself."""

IMPURE = {
    "asyncio",
    "os",
    "queue",
    "select",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "threading",
    "time",
    "zmq",
}
"""Modules that the pure parts must not need: a program that reads bytes from anywhere can use them."""

PURE = {"wire", "dialects"}
"""The parts without a socket, thread, clock or process."""


def test_every_part_has_its_law() -> None:
    """A new source root must say what it may import."""
    assert sorted(MAY_IMPORT) == PARTS


def test_a_part_imports_only_what_it_may() -> None:
    """No import, at the top or inside a function, reaches a part that this one must not know."""
    hold(
        f"{module.at(node)} imports {name}, but {module.part} may not import {name.split('.')[1]}"
        for module in modules()
        for node, name in module.imports()
        if name.startswith("parlour.") and name.split(".")[1] not in MAY_IMPORT[module.part] | {module.part}
    )


def test_pure_parts_are_pure() -> None:
    """The language and its dialects have no socket, thread, clock or process in them."""
    hold(
        f"{module.at(node)} imports {name}"
        for module in modules()
        if module.part in PURE
        for node, name in module.imports()
        if name.split(".")[0] in IMPURE
    )


def test_the_command_loads_nothing_early() -> None:
    """`parlour` starts without loading any part but its own, so that each command pays only for what it uses."""
    code = "import sys, parlour.cli; print(*sorted(name for name in sys.modules if name.count('.') < 2))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    loaded = set(done.stdout.split())
    assert "parlour.cli" in loaded
    late = {
        "parlour.broker",
        "parlour.node",
        "parlour.client",
        "parlour.monitor",
        "parlour.chaos",
        "parlour.simulate",
        "prompt_toolkit",
        "rich",
        "zmq",
    }
    assert loaded & late == set()
