"""The form of posts for nodes of older versions: texts that such nodes can log, or an error."""

from __future__ import annotations

import pytest

from parlour.client import NodeError
from parlour.client.compatibility import understood
from parlour.wire.limits import MAX_TEXT, PROTOCOL
from parlour.wire.messages import Say


@pytest.mark.parametrize("protocol", ["1.2", PROTOCOL, "1.10"])
@pytest.mark.parametrize("kind", ["", "action", "edit"])
def test_a_current_node_gets_posts_unchanged(protocol: str, kind: str) -> None:
    """So does a node of a later version."""
    say = Say("lobby", 1, "waves", kind, 7, {"a": 1})
    assert understood(say, "n1", protocol) is say


@pytest.mark.parametrize("protocol", ["1.0", "1.1"])
@pytest.mark.parametrize(
    ("say", "text"),
    [
        (Say("lobby", 1, "hello"), "hello"),
        (Say("lobby", 1, "hello", ref=7), "hello"),
        (Say("lobby", 1, "hello", data={"a": 1}), "hello"),
        (Say("lobby", 1, "green", "notice"), "green"),
        (Say("lobby", 1, "waves", "action", 7), "/me waves"),
    ],
)
def test_an_older_node_gets_texts(protocol: str, say: Say, text: str) -> None:
    """An action becomes the text by which older clients know it."""
    assert understood(say, "n1", protocol) == Say("lobby", 1, text)


@pytest.mark.parametrize(
    ("kind", "cannot"), [("edit", "edit messages"), ("redact", "delete messages"), ("react", "take reactions")]
)
def test_an_older_node_gets_no_changes(kind: str, cannot: str) -> None:
    """It would log them as messages."""
    error = understood(Say("lobby", 1, "hello", kind, 7), "n1", "1.1")
    assert isinstance(error, NodeError)
    assert str(error) == f"n1 runs an older version of parlour, which cannot {cannot}: upgrade it"


def test_an_action_may_be_too_long_for_an_older_node() -> None:
    """The four characters in front of it count, too."""
    error = understood(Say("lobby", 1, "x" * MAX_TEXT, "action"), "n1", "1.1")
    assert isinstance(error, NodeError)
    assert "\n" not in str(error)
