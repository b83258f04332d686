"""The options that commands share: one spelling, one default, and wire's own words when a value is wrong."""

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
    """Run the command, with PARLOUR_BROKER as given."""
    return CliRunner().invoke(command, arguments, env={"PARLOUR_BROKER": environment})


def test_defaults() -> None:
    """Without options the broker of this machine is asked, and people read the output."""
    assert run().output == "(['127.0.0.1:6000'], False, None, None, None)\n"


def test_an_empty_variable_is_none() -> None:
    """PARLOUR_BROKER set to nothing is as good as not set."""
    assert run(environment="").output.startswith("(['127.0.0.1:6000'],")


def test_brokers_may_be_several() -> None:
    """Brokers are given by repeating the option or, with spaces between, by the environment; the option wins."""
    assert run("--broker", "a:1", "--broker", "[::1]:2").output.startswith("(['a:1', '[::1]:2'],")
    assert run(environment="a:1 b:2").output.startswith("(['a:1', 'b:2'],")
    assert run("--broker", "c:3", environment="a:1 b:2").output.startswith("(['c:3'],")


def test_values_come_checked() -> None:
    """A name and a room come in NFC, an address as it was written."""
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
    """A wrong value is a usage error, status 2, in the words of the check."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_a_wrong_variable_is_a_usage_error() -> None:
    """The environment is checked like the option."""
    result = run(environment="a:1 nowhere")
    assert result.exit_code == 2
    assert "'nowhere'" in result.output


def test_the_help_tells_default_and_variable() -> None:
    """Whoever reads the help learns the default and the variable's name."""
    output = run("--help").output
    assert "127.0.0.1:6000" in output
    assert "PARLOUR_BROKER" in output
