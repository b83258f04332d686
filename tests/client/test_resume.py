"""Connections break; nodes stop, die and drain: programs see one whole stream, and each post is logged once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from parlour.broker import Broker, BrokerSettings
from parlour.client import (
    Chat,
    DeadlineError,
    Disconnected,
    DisconnectedError,
    Event,
    Message,
    NodeError,
    Presence,
    Reconnected,
    Reconnecting,
    Restarted,
    Room,
    connect,
    dialing,
    reconnector,
)
from parlour.client.nodelink import NodeLink
from parlour.node.log import LogError
from parlour.node.log.memory import MemoryLog
from parlour.runtime.broker_rpc import RefusedError
from parlour.runtime.threads import join_all, spawn
from parlour.wire import messages as wire
from parlour.wire.control import Refused
from support.cluster import Cluster, fleet
from support.ports import free_ports
from support.processes import processes
from support.proxy import Proxy
from support.waiting import MS, eventually


class Listener:
    """Takes all events of a room on a thread of its own until the chat is closed."""

    def __init__(self, room: Room) -> None:
        self.events: list[Event] = []
        self.came: list[tuple[float, Message]] = []
        self._room = room
        self._thread = spawn(f"{room._chat.name} listens", self._listen)

    def _listen(self) -> None:
        for event in self._room.events():
            self.events.append(event)
            if isinstance(event, Message):
                self.came.append((time.time(), event))

    @property
    def offsets(self) -> list[int]:
        """The offsets of the messages, as they came."""
        return [event.offset for event in list(self.events) if isinstance(event, Message)]

    def heard(self, kind: type[Event]) -> list[Event]:
        """Return the events of a kind."""
        return [event for event in list(self.events) if isinstance(event, kind)]

    def whole(self, top: int, timeout: float = 10.0) -> None:
        """Wait until the message of this offset is here: each before it came once, in its turn."""
        eventually(lambda: self.offsets[-1:] == [top], timeout, f"offset {top} is heard")
        assert self.offsets == list(range(1, top + 1))

    def join(self) -> None:
        """Wait for the end of the events."""
        join_all([self._thread], 5)


@contextmanager
def talking(room: Room, pause: float = 0.002) -> Iterator[list[Future[Message]]]:
    """Post numbers without a pause while the block runs."""
    posts: list[Future[Message]] = []
    stop = threading.Event()

    def talk() -> None:
        while not stop.wait(pause):
            posts.append(room.post(str(len(posts)), timeout=30))

    thread = spawn("talker", talk)
    try:
        yield posts
    finally:
        stop.set()
        join_all([thread], 30)


def all_logged_once(*talks: list[Future[Message]]) -> int:
    """Check that all posts are acknowledged, each with its own offset and in the order of its client; count them."""
    messages = [[post.result(20) for post in posts] for posts in talks]
    for each in messages:
        assert [message.text for message in each] == [str(number) for number in range(len(each))]
        assert [message.offset for message in each] == sorted(message.offset for message in each)
    offsets = sorted(message.offset for each in messages for message in each)
    assert offsets == list(range(1, len(offsets) + 1))
    return len(offsets)


def quit_node(cluster: Cluster, chat: Chat) -> None:
    """Stop the node of a chat."""
    cluster.node_of(chat).stop()


def test_a_chat_goes_on_at_another_node(cluster: Cluster) -> None:
    """A node stops while two clients post: all posts are logged once and in order, all are heard, no member leaves."""
    ada, bob = cluster.chat("ada"), cluster.chat("bob")
    rooms = [ada.join("lobby"), bob.join("lobby")]
    eventually(lambda: all(room.members == ["ada", "bob"] for room in rooms))
    ears = [Listener(room) for room in rooms]
    session, first = ada.session, ada.node
    with talking(rooms[0]) as said, talking(rooms[1]) as told:
        eventually(lambda: len(said) > 50)
        quit_node(cluster, ada)
        eventually(lambda: ears[0].heard(Reconnected))
        count = len(said)
        eventually(lambda: len(said) > count + 50)
    top = all_logged_once(said, told)
    for ear in ears:
        ear.whole(top)
    assert ada.node == bob.node != first
    assert ada.session == session
    lost, back = (event for event in ears[0].events if isinstance(event, Reconnecting | Reconnected))
    assert isinstance(lost, Reconnecting)
    assert first in lost.reason
    assert back == Reconnected(ada.node)
    assert [message.replay for message in ears[0].heard(Message) if isinstance(message, Message)] == [False] * top
    assert not ears[1].heard(Reconnecting)
    assert rooms[0].who() == rooms[1].who() == ["ada", "bob"]


def test_a_killed_node_loses_nothing(tmp_path: Path) -> None:
    """A node is killed with posts on their way: each is logged once in the end, and all clients hear each once."""
    port = free_ports()
    address = f"127.0.0.1:{port}"
    with processes() as started, ExitStack() as closing:
        started.broker(port)
        nodes = {name: started.node(name, port, tmp_path / "log.sqlite") for name in ("n1", "n2", "n3")}
        eventually(lambda: len(fleet(address).nodes) == 3)
        chats = [closing.enter_context(connect(address, f"person-{number}")) for number in range(6)]
        rooms = [chat.join("lobby") for chat in chats]
        ears = [Listener(room) for room in rooms]
        with ExitStack() as talks:
            said = [talks.enter_context(talking(room)) for room in rooms[:4]]
            for name in ("n1", "n2"):
                count = len(said[0])
                eventually(lambda count=count: len(said[0]) > count + 100)  # type: ignore[misc]
                started.kill(nodes[name])
                eventually(lambda name=name: all(c.connected and c.node != name for c in chats))  # type: ignore[misc]
        top = all_logged_once(*said)
        for ear in ears:
            ear.whole(top)
        again = closing.enter_context(connect(address, "reader")).join("lobby", history=100_000)
        assert again.replays == top


def test_a_connection_cut_in_mid_frame(empty_cluster: Cluster) -> None:
    """At any byte of a frame: the messages that follow are whole."""
    proxy = Proxy()
    proxy.start()
    empty_cluster.closing.callback(proxy.stop)
    proxy.target = f"127.0.0.1:{free_ports()}"
    empty_cluster.add_node("n1", listen=proxy.target, advertise=proxy.address)
    room = empty_cluster.chat("ada").join("lobby")
    ear = Listener(room)
    with talking(room) as said:
        for cut in (1, 37, 500, 1003):
            cuts = proxy.cuts
            proxy.cut_after(cut)
            eventually(lambda cuts=cuts: proxy.cuts > cuts)  # type: ignore[misc]
            eventually(lambda cuts=cuts: len(ear.heard(Reconnected)) > cuts)  # type: ignore[misc]
    ear.whole(all_logged_once(said))


def test_the_broker_is_away_for_a_while(empty_cluster: Cluster) -> None:
    """Without a broker there is no way back; posts are kept, and sent when a broker is there again."""
    settings = BrokerSettings(bind=f"127.0.0.1:{free_ports()}", retry_after=0.1, settle=0.1)

    def start_broker() -> None:
        empty_cluster.broker = Broker(settings)
        empty_cluster.broker.start()
        empty_cluster.closing.callback(empty_cluster.broker.stop)

    empty_cluster.broker.stop()
    start_broker()
    for name in ("n1", "n2"):
        empty_cluster.add_node(name)
    ada = empty_cluster.chat("ada")
    room = ada.join("lobby")
    ear = Listener(room)
    room.say("0")
    empty_cluster.broker.stop()
    quit_node(empty_cluster, ada)
    eventually(lambda: not ada.connected)
    posts = [room.post(str(number), timeout=30) for number in range(1, 20)]
    began = time.monotonic()
    with pytest.raises(DeadlineError):
        room.say("too late", timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 1.3
    assert not any(post.done() for post in posts)
    start_broker()
    assert [post.result(20).offset for post in posts] == list(range(2, 21))
    ear.whole(20)


def test_a_drained_node_is_left_unseen(cluster: Cluster) -> None:
    """Twenty chats move while they post: no member is seen to leave, no message is late, no loss is told."""
    watcher = next(chat for chat in map(cluster.chat, ("w1", "w2")) if chat.node == "n2")
    chats = [cluster.chat(f"person-{number}") for number in range(20)]
    rooms = [chat.join(f"room-{number % 3}") for number, chat in enumerate(chats)]
    watched = [watcher.join(f"room-{number}") for number in range(3)]
    everybody = [*rooms, *watched]
    eventually(lambda: all(room.count == len(room.who()) == (8 if room.name < "room-2" else 7) for room in everybody))
    eventually(lambda: all(len(room.members) == room.count for room in everybody))
    for room in everybody:
        list(room.events(0.01))
    ears = [Listener(room) for room in everybody]
    with ExitStack() as talks:
        said = [talks.enter_context(talking(room, 0.05)) for room in rooms]
        eventually(lambda: len(said[0]) > 5)
        cluster.nodes[0].drain(4.0)
        cluster.nodes[0].stop()
        assert {chat.node for chat in chats} == {"n2"}
        count = len(said[0])
        eventually(lambda: len(said[0]) > count + 5)
    for name in ("room-0", "room-1", "room-2"):
        top = all_logged_once(*(posts for posts, room in zip(said, rooms, strict=True) if room.name == name))
        for ear, room in zip(ears, everybody, strict=True):
            if room.name == name:
                ear.whole(top)
    for ear in ears:
        assert not [event for event in ear.events if not isinstance(event, Message)]
        assert max(at - message.at / 1000 for at, message in ear.came) < 1000 * MS


def test_replays_stay_known(cluster: Cluster) -> None:
    """Also when the room goes on at another node, as a program may ask later."""
    bob = cluster.chat("bob").join("lobby")
    for number in range(3):
        bob.say(str(number))
    ada = cluster.chat("ada")
    room = ada.join("lobby", history=2)
    ear = Listener(room)
    quit_node(cluster, ada)
    eventually(lambda: ear.heard(Reconnected))
    assert room.replays == 2


def test_a_replaced_log_is_told(empty_cluster: Cluster) -> None:
    """The log was replaced while the connection was away: there is an event, and the new messages come as replays."""
    empty_cluster.add_node("n1")
    ada = empty_cluster.chat("ada")
    room = ada.join("lobby", history=2)
    room.say("lost for ever")
    ear = Listener(room)
    quit_node(empty_cluster, ada)
    empty_cluster.add_node("n2", log="memory://another")
    with connect(empty_cluster.address, "bob") as bob:
        there = bob.join("lobby")
        for number in range(3):
            there.say(str(number))
        eventually(lambda: ear.heard(Restarted))
        there.say("and on")
        eventually(lambda: len(ear.heard(Message)) == 4 or ear.offsets[-1:] == [4])
    kinds = [type(event) for event in ear.events if not isinstance(event, Presence | Message)]
    assert kinds == [Reconnecting, Reconnected, Restarted]
    after = [event for event in ear.events[ear.events.index(ear.heard(Restarted)[0]) :] if isinstance(event, Message)]
    # The last two that were there when ada came back, and all that followed.
    offsets = [message.offset for message in after]
    assert offsets == list(range(offsets[0], 5))
    assert offsets[0] <= 2
    assert [after[0].replay, after[-1].replay] == [True, False]


def test_close_while_reconnecting(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a way back a chat closes when its question to the brokers is over, and its events and posts end."""
    monkeypatch.setattr(dialing, "_ASKING", 0.5)
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    ear = Listener(room)
    cluster.broker.stop()
    for node in cluster.nodes:
        node.stop()
    eventually(lambda: not ada.connected)
    post = room.post("kept")
    room.leave()
    ear.join()
    assert isinstance(post.exception(0), DisconnectedError)
    began = time.monotonic()
    ada.close()
    assert time.monotonic() - began < 3
    with pytest.raises(DisconnectedError, match="closed"):
        ada.join("den")


@pytest.mark.parametrize("hopeless", ["refused", "given up"])
def test_no_way_back_is_the_last_event(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, hopeless: str) -> None:
    """Refused for good, or cut off longer than the program waits: posts fail, and Disconnected is the last event."""

    def refuse(*_: object) -> None:
        raise RefusedError(Refused("bad_version", "use a matching version"), "127.0.0.1:6000")

    ada = cluster.closing.enter_context(
        connect(cluster.address, "ada", give_up=0.5 if hopeless == "given up" else None)
    )
    room = ada.join("lobby")
    if hopeless == "refused":
        monkeypatch.setattr(reconnector, "dial_once", refuse)
    for node in cluster.nodes:
        node.stop()
    events = list(room.events(10))
    last = events[-1]
    assert isinstance(last, Disconnected)
    assert ("matching version" if hopeless == "refused" else "0.5 s") in last.reason
    with pytest.raises(DisconnectedError):
        room.say("anybody?")
    assert not ada.connected
    assert ada.rooms == []


def test_a_move_that_fails_changes_nothing(cluster: Cluster) -> None:
    """Asked to move to an address without a node, or with a bad ticket, the chat stays and goes on where it is."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    ear = Listener(room)
    link = ada._reconnector.current
    assert link is not None
    other = next(node for node in cluster.nodes if node.name != ada.node)
    with talking(room) as said:
        for address in ("127.0.0.1:1", other.address):
            ada.handle(link, wire.Move("elsewhere", address, "no ticket"))
            eventually(lambda: ada._reconnector._attempts.running or len(said) > 100)
            eventually(lambda: not ada._reconnector._attempts.running)
    ear.whole(all_logged_once(said))
    assert ada._reconnector.current is link
    assert not ear.heard(Reconnecting)


def test_a_chat_does_not_see_its_own_absence(cluster: Cluster) -> None:
    """Only others are told that it was missing for a moment."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    link = ada._reconnector.current
    assert link is not None
    ada.handle(link, wire.Presence("lobby", ["bob"], ["ada"], 1))
    assert next(room.events(5)) == Presence("lobby", ("bob",), (), 1)
    assert room.members == ["ada", "bob"]


def test_only_the_newest_connection_tells_the_members(cluster: Cluster) -> None:
    """During a move the old node's positions and members come too late."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    link = ada._reconnector.current
    assert link is not None
    newer = NodeLink(99, link.connection)
    epoch = link.epochs["lobby"]
    room.on_joined(wire.Joined("lobby", epoch, 0, 0), newer)
    room.on_joined(wire.Joined("lobby", "another", 0, 0), link)
    room.on_presence(wire.Presence("lobby", ["ghost"], [], 2), link)
    room.on_presence(wire.Presence("lobby", ["bob"], [], 2), newer)
    assert list(room.events(0.05)) == [Presence("lobby", ("bob",), (), 2)]
    room.on_joined(wire.Joined("lobby", epoch, 0, 0), newer)
    newer.over = True
    room.on_joined(wire.Joined("lobby", epoch, 0, 0), link)
    room.on_presence(wire.Presence("lobby", [], ["bob"], 1), link)
    assert list(room.events(0.05)) == [Presence("lobby", (), ("bob",), 1)]


def test_a_log_that_is_away_delays_posts(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A post that could not be logged is tried again before later posts, until its own deadline."""
    room = cluster.chat("ada").join("lobby")
    ear = Listener(room)
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise LogError("the disk is full")

        broken.setattr(MemoryLog, "append", fail)
        short = room.post("never", timeout=0.5)
        posts = [room.post(str(number)) for number in range(5)]
        with pytest.raises(NodeError, match="disk is full"):
            short.result(5)
        posts.append(room.post("5"))
    assert [post.result(5).text for post in posts] == [str(number) for number in range(6)]
    ear.whole(6)


def test_a_chat_with_a_full_backlog_comes_back(cluster: Cluster) -> None:
    """A reconnection does not fill the backlog further; once the events are taken, no message is missing."""
    ada, bob = cluster.chat("ada"), cluster.chat("bob")
    room, there = ada.join("lobby", backlog=10), bob.join("lobby")
    for number in range(50):
        there.say(str(number))
    quit_node(cluster, ada)
    eventually(lambda: ada.connected and ada.node == bob.node)
    assert room.say("back").offset == 51
    ear = Listener(room)
    ear.whole(51)
