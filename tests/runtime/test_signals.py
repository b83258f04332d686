"""Signals, sent to real processes."""

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


def start(script: str) -> subprocess.Popen[str]:
    """Start a program that can import the modules of this one, with pipes to talk to it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_and_the_second_kills(number: signal.Signals) -> None:
    """The first signal stops the program in order; a second ends it at once even if it hangs."""
    with start(SCRIPT) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.stdout.readline() == "stopping\n"
            process.send_signal(number)
            assert process.wait(10) == -number
        finally:
            process.kill()


ELSEWHERE = """
import signal, sys, threading, time
from parlour.runtime.signals import wait_for_stop
def hit():
    sys.stdin.readline()
    time.sleep(0.1)  # by now the main thread waits
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    threading.Event().wait(60)
threading.Thread(target=hit, daemon=True).start()
print("stopping on", wait_for_stop("ready"), flush=True)
"""


def test_a_signal_to_another_thread() -> None:
    """The system chooses the thread that gets a signal, not always the main one, which must act on it."""
    with start(ELSEWHERE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            said, _ = process.communicate("\n", timeout=20)
            assert said == f"stopping on {signal.SIGTERM:d}\n"
        finally:
            process.kill()
