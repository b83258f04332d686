"""What a person types, and what is understood."""

from __future__ import annotations

import pytest

from parlour.client.commands import HELP, Command, Help, Join, Leave, Quit, Say, Who, parse
from parlour.wire.errors import UsageError


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("hello", Say("hello")),
        ("  spaced  ", Say("  spaced  ")),
        ("", None),
        ("   ", None),
        ("//etc/passwd", Say("/etc/passwd")),
        ("/me waves", Say("/me waves")),
        ("/join den", Join("den")),
        ("/join  den ", Join("den")),
        ("/leave", Leave(None)),
        ("/leave den", Leave("den")),
        ("/who", Who()),
        ("/help ", Help()),
        ("/quit", Quit()),
    ],
)
def test_a_line_is_understood(line: str, command: Command | None) -> None:
    """Each kind of line becomes what it asks for."""
    assert parse(line) == command


@pytest.mark.parametrize(
    ("line", "hint"),
    [("/wave", "/help"), ("/", "/help"), ("/me", "/me waves"), ("/join", "/join lobby"), ("/quit now", "alone")],
)
def test_a_line_that_is_no_command_gets_a_hint(line: str, hint: str) -> None:
    """What is not understood is answered by one line that says what to type."""
    with pytest.raises(UsageError) as caught:
        parse(line)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_room_out_of_the_limits_is_refused_before_it_is_sent() -> None:
    """The name of a room is checked while the person still sees what was typed."""
    with pytest.raises(UsageError, match="1 to 64"):
        parse("/join " + "x" * 65)


def test_help_names_every_command() -> None:
    """What can be typed is what is told."""
    for word in ("/join", "/leave", "/who", "/me", "//", "/quit"):
        assert word in HELP
