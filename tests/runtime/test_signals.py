from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

SCRIPT = """
import threading
from parlour.runtime.signals import wait_for_stop
wait_for_stop("ready")
print("stopping", flush=True)
threading.Event().wait(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_and_the_second_kills(number: signal.Signals) -> None:
    """One signal lets the program stop in order; a second ends it at once, though it hangs in stopping."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.stdout.readline() == "stopping\n"
            process.send_signal(number)
            assert process.wait(10) == -number
        finally:
            process.kill()
