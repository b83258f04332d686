"""Options that several commands share, so that they look and work the same everywhere.

This module owns their names, defaults and checks. It must never hold an option of only one command.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import click

from parlour.runtime.broker_rpc import DEFAULT_BROKER
from parlour.wire.errors import UsageError
from parlour.wire.limits import check_name, check_room, parse_address

__all__ = [
    "ADDRESS",
    "AGE",
    "NAME",
    "ROOM",
    "Age",
    "Checked",
    "Number",
    "brokers_option",
    "json_option",
    "log_file_option",
    "log_options",
    "metrics_option",
]

F = TypeVar("F", bound=Callable[..., Any])


class Checked(click.ParamType[str]):
    """A text that passes a check; the check raises UsageError for any other text."""

    def __init__(self, name: str, check: Callable[[str], object]) -> None:
        self.name = name
        self._check = check

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, in the form that the check gives it, or fail with the check's message."""
        try:
            checked = self._check(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)
        return checked if isinstance(checked, str) else value


class Number(click.FloatRange):
    """A finite number in a range. A range alone would accept NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail with a message that tells the range."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Age(click.ParamType[float]):
    """A time in seconds, given as a number with a unit."""

    name = "AGE"
    _units: ClassVar[dict[str, int]] = {"m": 60, "h": 3600, "d": 86_400}

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds, or fail with examples."""
        if isinstance(value, float):
            return value
        found = re.fullmatch("([0-9]{1,6})([mhd])", str(value))
        if found is None or int(found[1]) == 0:
            self.fail(f"{value!r} is no time such as 90m, 12h or 7d.", param, ctx)
        return float(int(found[1]) * self._units[found[2]])


ADDRESS = Checked("HOST:PORT", parse_address)
"""The type of an option that takes an address."""
AGE = Age()
"""The type of an option that takes a time such as 90m, 12h or 7d."""
NAME = Checked("NAME", check_name)
"""The type of an option that takes the name of a person or a node."""
ROOM = Checked("ROOM", check_room)
"""The type of an option that takes the name of a room."""


def brokers_option(command: F) -> F:
    """Add `--broker HOST:PORT`, which may be repeated, or set in PARLOUR_BROKER (addresses separated by spaces)."""
    return click.option(
        "--broker",
        "brokers",
        type=ADDRESS,
        multiple=True,
        default=[DEFAULT_BROKER],
        envvar="PARLOUR_BROKER",
        show_default=True,
        show_envvar=True,
        help="Address of a broker; may be repeated.",
    )(command)


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def log_options(command: F) -> F:
    """Add `--log-format` and `--log-level`."""
    command = click.option(
        "--log-level",
        type=click.Choice(["info", "warning", "error"]),
        help="The lowest level to log.  [default: info; warning for `up` in the foreground]",
    )(command)
    return click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Log each event as a line or as a JSON object.",
    )(command)


def metrics_option(command: F) -> F:
    """Add `--metrics HOST:PORT`."""
    return click.option(
        "--metrics", type=ADDRESS, help="Serve /metrics for Prometheus, /healthz and /readyz over HTTP at this address."
    )(command)


def log_file_option(command: F) -> F:
    """Add the option with which `up --detach` makes a part write its log to a file."""
    return click.option("--log-file", metavar="PATH", hidden=True)(command)
