"""The options that commands share: one spelling, one default, and the check's own message for a wrong value."""

from __future__ import annotations

from collections.abc import Sequence

import click
import pytest
from click.testing import CliRunner, Result

from parlour.runtime.options import ADDRESS, NAME, ROOM, Number, brokers_option, json_option


@click.command()
@brokers_option
@json_option
@click.option("--name", type=NAME)
@click.option("--room", type=ROOM)
@click.option("--listen", type=ADDRESS)
@click.option("--speed", type=Number(0, min_open=True), expose_value=False)
def command(brokers: Sequence[str], as_json: bool, name: str | None, room: str | None, listen: str | None) -> None:
    """Print what was understood."""
    click.echo(repr((list(brokers), as_json, name, room, listen)))


def run(*arguments: str, environment: str | None = None) -> Result:
    """Run the command, with this PARLOUR_BROKER."""
    return CliRunner().invoke(command, arguments, env={"PARLOUR_BROKER": environment})


def test_defaults() -> None:
    """Without options the command asks the broker of this machine, and prints for people."""
    assert run().output == "(['127.0.0.1:6000'], False, None, None, None)\n"


def test_an_empty_variable_is_none() -> None:
    """An empty PARLOUR_BROKER counts as not set."""
    assert run(environment="").output.startswith("(['127.0.0.1:6000'],")


def test_brokers_may_be_several() -> None:
    """Several brokers come from repeated options, or from the environment with spaces between; the option wins."""
    assert run("--broker", "a:1", "--broker", "[::1]:2").output.startswith("(['a:1', '[::1]:2'],")
    assert run(environment="a:1 b:2").output.startswith("(['a:1', 'b:2'],")
    assert run("--broker", "c:3", environment="a:1 b:2").output.startswith("(['c:3'],")


def test_values_come_checked() -> None:
    """A name and a room arrive in NFC, an address as it was written."""
    output = run("--json", "--name", "Zoe\u0308", "--room", "cafe\u0301", "--listen", "127.0.0.1:0").output
    assert output == "(['127.0.0.1:6000'], True, 'Zoë', 'café', '127.0.0.1:0')\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--broker", "nowhere"], "an address is HOST:PORT, such as 127.0.0.1:6000, not 'nowhere'"),
        (["--listen", "::1:1"], "put an IPv6 address in brackets"),
        (["--name", "a\x1bb"], "a name may not contain control characters"),
        (["--room", "r" * 65], "a room name has 1 to 64 characters, this one has 65"),
        (["--speed", "0"], "0.0 is not in the range x>0"),
        (["--speed", "nan"], "nan is not a finite number"),
        (["--speed", "inf"], "inf is not a finite number"),
    ],
)
def test_wrong_values(arguments: list[str], words: str) -> None:
    """A wrong value is a usage error (status 2) with the message of the check."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_a_wrong_variable_is_a_usage_error() -> None:
    """The environment variable is checked like the option."""
    result = run(environment="a:1 nowhere")
    assert result.exit_code == 2
    assert "'nowhere'" in result.output


def test_the_help_tells_default_and_variable() -> None:
    """The help shows the default and the variable's name."""
    output = run("--help").output
    assert "127.0.0.1:6000" in output
    assert "PARLOUR_BROKER" in output
