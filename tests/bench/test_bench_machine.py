"""The cores that are measured on: the servers' own, and another."""

from __future__ import annotations

import subprocess
import sys

from bench.machine import on_core, server_core
from support.source import ROOT


def test_one_core_is_too_few() -> None:
    """Server and generator would take it from each other, and no figure would be the server's."""
    command = [sys.executable, "-m", "bench", "alone", "--quick"]
    done = subprocess.run(
        command, cwd=ROOT, preexec_fn=on_core(server_core()), capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: two cores are needed: on one, servers and load generator take it from each other\n"
