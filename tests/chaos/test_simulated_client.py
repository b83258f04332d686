"""What a client of a round makes of what the library tells it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from parlour.chaos.simulated_client import SimulatedClient
from parlour.client.events import Disconnected, Event, Message, Presence, Reconnected, Reconnecting, Restarted
from parlour.client.room import Room


class Told:
    """A room in which this happened."""

    def __init__(self, *events: Event) -> None:
        self._events = events

    def events(self, timeout: float) -> Iterator[Event]:
        """Yield it."""
        return iter(self._events)


def heard(*events: Event) -> SimulatedClient:
    """Return a client that was told these events."""
    client = SimulatedClient("ada", ["lobby"], 1.0, "seed", {})
    client.rooms["lobby"].room = cast(Room, Told(*events))
    client.hear()
    return client


def test_a_client_that_comes_back_has_no_trouble() -> None:
    """What is said is remembered, returns are counted, and coming and going is nothing."""
    message = Message("lobby", 1, "s-1", "bob", 1, "hello", replay=False)
    client = heard(message, Presence("lobby", ("bob",), (), 2), Reconnecting("it broke"), Reconnected("n2"))
    assert client.troubles() == []
    assert client.returns == 1
    assert [line.text for line in client.rooms["lobby"].lines] == ["hello"]
    assert len(client.rooms["lobby"].times) == 1


@pytest.mark.parametrize(
    ("event", "trouble"),
    [
        (Restarted("lobby", "e1", 7), "it could not go on from its last message"),
        (Disconnected("no way"), "cut off for good: no way"),
    ],
)
def test_what_must_not_happen_is_a_trouble(event: Event, trouble: str) -> None:
    """No log of a round forgets or begins anew, whatever dies, and no client is lost: who is told so, tells."""
    assert heard(event).troubles() == [f"ada in lobby: {trouble}"]
