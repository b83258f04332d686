"""Commands whose standard streams are closed, or lead to where nothing can be written."""

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
    """To print nowhere is as good as to print; what cannot be written is told in a line; neither changes the status."""
    process = started(redirection, *arguments)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (status, "", said)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_a_broker_does_not_end_as_it_cannot_say_that_it_is_ready(redirection: str) -> None:
    """Where its output goes to a full disk, a line is lost, and no more."""
    process = started(redirection, "broker", "--bind", f"127.0.0.1:{free_ports()}", "--log-level", "warning")

    def minds_signals() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(caught, 16) >> signal.SIGTERM - 1 & 1)

    try:
        # It does so just before it says that it is ready.
        eventually(minds_signals, 10)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_broker_ends_when_nobody_waits_for_it_any_more() -> None:
    """Who has it started, and is gone before it is ready, would not stop it either."""
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
