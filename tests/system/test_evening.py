"""A whole evening: accounts, a room with an owner, a troublemaker, a private talk, a dying node, and the next day."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from parlour.client import Chat, Disconnected, Message, NameTakenError, NodeError, Room, connect
from parlour.wire.errors import ParlourError
from parlour.wire.limits import parse_address
from support.cluster import fleet
from support.ports import free_ports
from support.processes import processes, run
from support.tmux import MISSING, tmux
from support.waiting import MS, eventually

ADA, BOB = "open sesame", "correct horse"


class LineClient:
    """A bot that speaks JSON lines to one node."""

    def __init__(self, address: str, name: str, room: str) -> None:
        self._socket = socket.create_connection(parse_address(address), 5_000 * MS)
        self._file = self._socket.makefile("r", encoding="utf-8")
        for told in ({"type": "hello", "name": name}, {"type": "join", "room": room}):
            self._socket.sendall(json.dumps(told).encode() + b"\n")

    def hear(self, text: str) -> dict[str, Any]:
        """Return the next record with this text; drop all before it."""
        while True:
            told: dict[str, Any] = json.loads(self._file.readline())
            if told["type"] == "message" and told["text"] == text:
                return told

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


@contextmanager
def entered(broker: str, name: str, **options: Any) -> Iterator[tuple[Chat, Room]]:
    """Connect with the library, and join the tavern."""
    with connect(broker, name, **options) as chat:
        yield chat, chat.join("tavern", history=100)


def texts(room: Room) -> list[str]:
    """Return the texts of the records that have come, and soon come."""
    return [event.text for event in room.events(timeout=1) if isinstance(event, Message)]


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_an_evening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody gets what an evening needs, on three nodes, by terminal, library and JSON lines."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    port, log = free_ports(), tmp_path / "rooms.sqlite"
    broker, url = f"127.0.0.1:{port}", f"sqlite://{log}"
    (tmp_path / "password").write_text(f"{ADA}\n")
    with processes() as started, tmux() as terminal, ExitStack() as stack:
        started.broker(port)
        nodes = {name: started.node(name, port, log) for name in ("n1", "n2", "n3")}
        eventually(lambda: len(fleet(broker).nodes) == 3)
        assert run("account", "add", "ada", "--password-stdin", "--log", url, given=f"{ADA}\n").returncode == 0
        code = run("invite", "--log", url).stdout.split()[0]

        # Ada opens the tavern at her terminal; Bob comes with an invitation, and helps her.
        signin = ["--broker", broker, "--password-file", str(tmp_path / "password")]
        ada = terminal.open(sys.executable, "-m", "parlour.cli", "chat", "--name", "ada", "--room", "tavern", *signin)
        terminal.shows(ada, "ada founded the room")
        terminal.type(ada, "/topic ale and songs", "Enter")
        bob, tavern = stack.enter_context(entered(broker, "bob", password=BOB, invitation=code))
        assert bob.account == "bob"
        with pytest.raises(ParlourError, match="invitation"):
            connect(broker, "dan", password="long enough", invitation=code)
        terminal.type(ada, "/op bob", "Enter")
        eventually(lambda: tavern.state()["role"] == "operator")
        assert tavern.state()["topic"] == "ale and songs"
        bot = LineClient(next(node.report.address for node in fleet(broker).nodes), "bot", "tavern")
        stack.callback(bot.close)

        # Eve is muted, shown out, banned, and no better under a name that looks the same.
        with entered(broker, "eve") as (eve, hers):
            hers.say("buy now")
            bot.hear("buy now")
            with pytest.raises(NameTakenError):
                connect(broker, "\u0435ve")
            tavern.mute("eve", reason="spam")
            with pytest.raises(NodeError, match=r"you are muted in this room \(spam\): ask ada"):
                hers.say("buy more")
            tavern.unmute("eve")
            eventually(lambda: "eve" in tavern.members)
            tavern.kick("eve", "enough")
            assert isinstance([*hers.events(timeout=5)][-1], Disconnected)
            eve.join("tavern").say("back again")
            bot.hear(tavern.ban("eve", 3600, "spam").text)
        with connect(broker, "\u0435ve") as again, pytest.raises(NodeError, match="you are banned from this room"):
            again.join("tavern")

        # Bob's node dies. He goes on at another, on two devices, and talks to Ada alone.
        dead = bob.node
        started.kill(nodes[dead])
        eventually(lambda: bob.connected and bob.node != dead)
        tavern.say("what was that?", timeout=20)
        terminal.shows(ada, "what was that?")
        second, same = stack.enter_context(entered(broker, "bob", password=BOB))
        tavern.say("never mind")
        eventually(lambda: "never mind" in texts(same))
        assert same.members.count("bob") == 1
        bob.direct("ada").say("thank you")

        # The next day Bob is told what he missed, and Ada reads what he wrote to her alone.
        for device in (bob, second):
            device.close()
        terminal.type(ada, "bob: see you at eight", "Enter")
        terminal.shows(ada, "see you at eight")
        with connect(broker, "bob", password=BOB) as morning:
            assert morning.unread()["tavern"]["mentions"] == 1
        with connect(broker, "ada", password=ADA) as elsewhere:
            (private,) = elsewhere.belongings()["conversations"]
            assert texts(elsewhere.join(private, history=10)) == ["thank you"]
        terminal.type(ada, "/quit", "Enter")
        terminal.shows(ada, "exit=0")
        with connect(broker, "reader", observer=True) as reader:
            read = list(reader.join("tavern", history=100).events(timeout=1.5))
        log_of_all = [event for event in read if isinstance(event, Message)]
        banned = next(record.offset for record in log_of_all if record.kind == "ban")
        assert [record.text for record in log_of_all if record.by == "eve"] == ["buy now", "back again"]
        assert all(record.offset < banned for record in log_of_all if record.by == "eve")
