"""The writer of a connection: lagging, and the return to live delivery."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import cast

from parlour.node.clients.transport import TcpTransport
from parlour.node.clients.writer import ConnectionWriter
from parlour.node.rooms.batch import Batch
from parlour.node.rooms.member import Member
from parlour.node.rooms.room import Room
from parlour.wire.people import Person


def test_live_only_without_members_behind() -> None:
    """A room may go on, or begin a new epoch, after the last batch was sent."""
    room = SimpleNamespace(epoch="e", offset=5)
    near, far = socket.socketpair()
    with near, far:
        writer = ConnectionWriter(TcpTransport(near), 1000, lambda _: None)
        member = Member(writer, cast(Room, room), "session", Person("ada"), modern=True)
        writer.enter(member)
        assert writer.release(member, "e", 3, b"joined"), "the caller has to bring it up to date"
        assert not writer.go_live()
        writer.push(member, "e", 3, [Batch(4, 5, b"45")])
        assert writer.go_live()
        writer.hold(member)
        room.epoch, room.offset = "f", 7
        assert writer.go_live(), "a held member is not behind"
        assert writer.release(member, "f", 7, b"")
        room.epoch, room.offset = "g", 2
        assert not writer.go_live()
        assert far.recv(100) == b"joined45"


def test_messages_for_an_old_position_are_not_sent() -> None:
    """The member got another position while the log was read for it."""
    near, far = socket.socketpair()
    with near, far:
        writer = ConnectionWriter(TcpTransport(near), 1000, lambda _: None)
        member = Member(writer, cast(Room, SimpleNamespace(epoch="e", offset=9)), "session", Person("ada"), modern=True)
        writer.enter(member)
        writer.release(member, "e", 3, b"")
        for epoch, offset in (("d", 3), ("e", 2)):
            writer.push(member, epoch, offset, [Batch(offset + 1, 5, b"stale")])
        writer.hold(member)
        writer.push(member, "e", 3, [Batch(4, 5, b"stale")])
        writer.release(member, "e", 3, b"")
        writer.push(member, "e", 3, [Batch(4, 5, b"45")])
        assert far.recv(100) == b"45"
