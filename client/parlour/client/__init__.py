"""Talk to a parlour cluster from a program: connect, join rooms, say and hear.

    from parlour.client import connect
    with connect("127.0.0.1:6000", name="ada") as chat:
        lobby = chat.join("lobby", history=50)
        lobby.say("hello")
        for event in lobby.events(timeout=5):
            print(event)

Every error that is raised on purpose is a ParlourError. Several threads may use all of it.
"""

from parlour.client.chat import Chat, connect
from parlour.client.errors import DeadlineError, DisconnectedError, NameTakenError, NodeError, SignInError
from parlour.client.events import (
    Changed,
    Disconnected,
    Event,
    Lagging,
    Message,
    Presence,
    Reconnected,
    Reconnecting,
    Restarted,
)
from parlour.client.people import Device
from parlour.client.room import Room
from parlour.runtime.broker_rpc import RefusedError
from parlour.wire.errors import ParlourError, ProtocolError, UnavailableError, UsageError

__all__ = [
    "Changed",
    "Chat",
    "DeadlineError",
    "Device",
    "Disconnected",
    "DisconnectedError",
    "Event",
    "Lagging",
    "Message",
    "NameTakenError",
    "NodeError",
    "ParlourError",
    "Presence",
    "ProtocolError",
    "Reconnected",
    "Reconnecting",
    "RefusedError",
    "Restarted",
    "Room",
    "SignInError",
    "UnavailableError",
    "UsageError",
    "connect",
]
