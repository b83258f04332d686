"""The commands of moderators are understood as they are typed."""

from __future__ import annotations

from typing import Any

import pytest

from parlour.client.commands import Nick, Register, WhoIs, parse
from parlour.client.moderation_commands import Moderate, ShowState
from parlour.wire.errors import UsageError
from parlour.wire.state_posts import state_post


@pytest.mark.parametrize(
    ("line", "kind", "text", "data"),
    [
        ("/topic tea at five", "topic", "tea at five", {}),
        ("/topic -", "topic", "", {}),
        ("/op bob", "role", "", {"who": "bob", "role": "operator"}),
        ("/devoice bob", "role", "", {"who": "bob", "role": ""}),
        ("/kick bob enough of it", "kick", "enough of it", {"who": "bob"}),
        ("/ban bob", "ban", "", {"who": "bob", "for": 0}),
        ("/ban spam* for 2h too loud", "ban", "too loud", {"who": "spam*", "for": 7200}),
        ("/mute bob for a while", "mute", "for a while", {"who": "bob", "for": 0}),
        ("/unban bob", "unban", "", {"who": "bob"}),
        ("/invite cy", "invite", "", {"who": "cy"}),
        ("/mode moderated on", "setting", "", {"name": "moderated", "value": True}),
        ("/mode limit 50", "setting", "", {"name": "limit", "value": 50}),
        ("/mode join invited", "setting", "", {"name": "join", "value": "invited"}),
        ("/mode password 1234", "setting", "", {"name": "password", "value": "1234"}),
        ("/mode password", "setting", "", {"name": "password", "value": ""}),
    ],
)
def test_records(line: str, kind: str, text: str, data: dict[str, Any]) -> None:
    """Each becomes a record that the node takes."""
    assert parse(line) == Moderate(kind, text, data)
    state_post(kind, text, data, 0)


def test_other_commands() -> None:
    """Names, accounts and the state of the room."""
    assert parse("/topic") == parse("/mode") == ShowState()
    assert parse("/nick bob") == Nick("bob")
    assert parse("/register") == Register("")
    assert parse("/register c0de") == Register("c0de")
    assert parse("/whois bob") == WhoIs("bob")


@pytest.mark.parametrize("line", ["/op", "/op bob cy", "/kick", "/ban", "/mode moderated", "/nick", "/whois"])
def test_hints(line: str) -> None:
    """What lacks something is refused with an example."""
    with pytest.raises(UsageError, match="such as /"):
        parse(line)
