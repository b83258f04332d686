from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from parlour.broker.cli import broker
from parlour.runtime.broker_rpc import ask
from parlour.wire.control import Describe, Described

COMMAND = [sys.executable, "-c", "from parlour.broker.cli import broker; broker()", "--bind", "127.0.0.1:0"]


def test_help_has_an_example() -> None:
    """The help shows an example and the default address."""
    result = CliRunner().invoke(broker, ["--help"])
    assert result.exit_code == 0
    assert "parlour broker --bind 0.0.0.0:6000" in result.output.partition("Examples:")[2]
    assert "127.0.0.1:6000" in result.output


def test_a_bad_address_is_a_usage_error() -> None:
    """An invalid address is refused with exit status 2 before anything starts."""
    result = CliRunner().invoke(broker, ["--bind", "nowhere"])
    assert result.exit_code == 2
    assert "HOST:PORT" in result.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process(number: signal.Signals) -> None:
    """The process says where it is ready, serves, and ends in order with status 0, however early the signal comes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("broker ready at 127.0.0.1:"), process.stderr.read()
            if number == signal.SIGTERM:
                assert isinstance(ask([line.split()[-1]], Describe())[1], Described)
            started = time.monotonic()
            process.send_signal(number)
            assert process.wait(10) == 0
            assert time.monotonic() - started < 5
            assert [line.split()[1:4] for line in process.stderr] == [
                ["info", "broker:", "started"],
                ["info", "broker:", "stopping"],
            ]
        finally:
            process.kill()
