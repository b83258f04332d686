"""The lines that a person types, and the commands that they become."""

from __future__ import annotations

import pytest

from parlour.client.commands import (
    HELP,
    NAMES,
    About,
    Command,
    Help,
    History,
    Join,
    Leave,
    Numbers,
    Quit,
    Say,
    Who,
    parse,
)
from parlour.wire.errors import UsageError


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("hello", Say("hello")),
        ("  spaced  ", Say("  spaced  ")),
        ("", None),
        ("   ", None),
        ("//etc/passwd", Say("/etc/passwd")),
        ("/me waves", Say("waves", "action")),
        ("/reply yes,  sure", About("", None, "yes,  sure")),
        ("/reply #301 yes", About("", 301, "yes")),
        ("/reply 2 of them", About("", None, "2 of them")),
        ("/reply #1st of all", About("", None, "#1st of all")),
        ("/edit #7  hello", About("edit", 7, "hello")),
        ("/edit hello", About("edit", None, "hello")),
        ("/delete", About("redact", None, "(deleted a message)")),
        ("/delete #7", About("redact", 7, "(deleted a message)")),
        ("/react 👍", About("react", None, "👍")),
        ("/react #7 +1", About("react", 7, "+1")),
        ("/numbers", Numbers(20)),
        ("/numbers 5", Numbers(5)),
        ("/history", History(50)),
        ("/join den", Join("den")),
        ("/join  den ", Join("den")),
        ("/leave", Leave(None)),
        ("/leave den", Leave("den")),
        ("/who", Who()),
        ("/help ", Help()),
        ("/quit", Quit()),
    ],
)
def test_a_line_is_parsed(line: str, command: Command | None) -> None:
    """Each kind of line becomes its command."""
    assert parse(line) == command


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("/wave", "/help"),
        ("/", "/help"),
        ("/me", "/me waves"),
        ("/join", "/join lobby"),
        ("/quit now", "type /quit alone"),
        ("/reply", "/reply #7 yes"),
        ("/edit #7", "/edit #7 yes"),
        ("/delete 7", "/delete #7"),
        ("/delete hello", "/numbers"),
        ("/react", "/react #7 👍"),
        ("/react 7 👍", "/react #7 👍"),
        ("/react #7", "/react #7 👍"),
        ("/react " + "x" * 65, "64 bytes"),
        ("/numbers all", "/numbers 20"),
        ("/history 0", "/history 20"),
    ],
)
def test_a_wrong_line_gets_a_hint(line: str, hint: str) -> None:
    """The error is one line that says what to type."""
    with pytest.raises(UsageError) as caught:
        parse(line)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_room_is_refused_at_once() -> None:
    """The name is checked while the person still sees the typed line."""
    with pytest.raises(UsageError, match="1 to 64"):
        parse("/join " + "x" * 65)


def test_help_names_every_command() -> None:
    """Each command is in the help, and each line of the help fits the terminal."""
    for word in ("/join", "/leave", "/who", "/me", "/reply", "/edit", "/delete", "/react", "/numbers", "//", "/quit"):
        assert word in HELP
    assert sorted(NAMES) == sorted(set(NAMES))
    assert all(len(line) < 80 for line in HELP.splitlines())
