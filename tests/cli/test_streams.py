"""Commands whose standard streams are closed or cannot be written."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.ports import free_ports
from support.processes import unread
from support.waiting import eventually

FULL = "parlour: cannot write to standard output (No space left on device): make room, or send it elsewhere\n"


def started(redirection: str, *arguments: str) -> subprocess.Popen[str]:
    """Start the command as a shell does, with this redirection."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "parlour.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("redirection", "arguments", "status", "said"),
    [
        (">&-", ["--help"], 0, ""),
        ("<&- >&- 2>&-", ["--help"], 0, ""),
        (">/dev/full", ["--help"], 1, FULL),
        (">/dev/full", ["completion", "bash"], 1, FULL),
        ("1</dev/null", ["--version"], 1, FULL.replace("No space left on device", "Bad file descriptor")),
        (">/dev/full 2>&1", ["--help"], 1, ""),
        ("2>&-", ["xyzzy"], 2, ""),
        ("2>/dev/full", ["xyzzy"], 2, ""),
    ],
)
def test_a_stream_that_is_closed_or_full(redirection: str, arguments: list[str], status: int, said: str) -> None:
    """Output to a closed stream is no error; output that cannot be written is told in one line."""
    process = started(redirection, *arguments)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (status, "", said)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_a_broker_runs_without_its_ready_line(redirection: str) -> None:
    """A broker whose output is full or closed runs on; only the line is lost."""
    process = started(redirection, "broker", "--bind", f"127.0.0.1:{free_ports()}", "--log-level", "warning")

    def handles_signals() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(caught, 16) >> signal.SIGTERM - 1 & 1)

    try:
        # The broker sets its handlers just before it prints that it is ready.
        eventually(handles_signals)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_broker_whose_starter_left() -> None:
    """A broker ends if the reader of its `ready` line has gone, because no program is left that would stop it."""
    command = [
        sys.executable,
        "-m",
        "parlour.cli",
        "broker",
        "--bind",
        f"127.0.0.1:{free_ports()}",
        "--log-level",
        "warning",
    ]
    with unread() as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
