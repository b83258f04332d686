"""The two cores of a measurement: the servers' own, and another."""

from __future__ import annotations

import subprocess
import sys

from bench.machine import on_core, server_core
from support.source import ROOT


def test_one_core_is_too_few() -> None:
    """Server and generator would share it, and no figure would be the server's alone."""
    command = [sys.executable, "-m", "bench", "alone", "--quick"]
    done = subprocess.run(
        command, cwd=ROOT, preexec_fn=on_core(server_core()), capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: the bench needs two cores: on one, servers and load generator would share it\n"
