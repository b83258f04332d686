"""The library with a running cluster: what a program posts, hears and gets as errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from parlour.client import (
    DeadlineError,
    DisconnectedError,
    Event,
    Message,
    NodeError,
    Presence,
    Reconnected,
    Reconnecting,
    RefusedError,
    Room,
    UnavailableError,
    UsageError,
    backlog,
    connect,
    connection,
    outbox,
)
from parlour.node.log import LogError
from parlour.node.log.memory import MemoryLog
from parlour.runtime.broker_rpc import ask
from parlour.wire.control import Decisions, Why
from parlour.wire.messages import Members
from support.cluster import Cluster
from support.waiting import eventually


def texts(events: list[Event]) -> list[str]:
    """Return the texts of the messages among the events."""
    return [event.text for event in events if isinstance(event, Message)]


def hear(room: Room, count: int, timeout: float = 10.0) -> list[Message]:
    """Take events until this number of messages has come, and return the messages."""
    heard: list[Message] = []
    for event in room.events(timeout):
        if isinstance(event, Message):
            heard.append(event)
            if len(heard) == count:
                break
    assert len(heard) == count
    return heard


@contextmanager
def a_slow_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Block the room log until the event is set or the block ends."""
    go_on = threading.Event()
    append = MemoryLog.append

    def slow(*arguments: Any) -> object:
        go_on.wait(5)
        return append(*arguments)

    with monkeypatch.context() as slowed:
        slowed.setattr(MemoryLog, "append", slow)
        try:
            yield go_on
        finally:
            go_on.set()


def test_two_people_on_two_nodes_talk(cluster: Cluster) -> None:
    """Each hears both, in the same order, on either node."""
    ada, bob = cluster.chat("ada"), cluster.chat("bob")
    assert {ada.node, bob.node} == {"n1", "n2"}
    here, there = ada.join("lobby"), bob.join("lobby")
    here.say("hello")
    there.say("hi")
    here.say("how are you?")
    assert hear(here, 3) == hear(there, 3)


def test_say_returns_the_logged_message(cluster: Cluster) -> None:
    """The message has its offset in the log, its id in the session, and its text unchanged."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    before = time.time_ns() // 1_000_000
    text = "tabs\tand \x1b escapes\nand 雪 stay"
    first, second = room.say("first"), room.say(text)
    assert (first.offset, second.offset) == (1, 2)
    assert (first.id, second.id) == (f"{ada.session}-1", f"{ada.session}-2")
    assert (second.room, second.by, second.text, second.replay) == ("lobby", "ada", text, False)
    assert before <= first.at <= second.at <= time.time_ns() // 1_000_000
    assert hear(room, 2) == [first, second]


def test_history_is_replayed_and_marked(cluster: Cluster) -> None:
    """The old messages that were asked for come first, as replays; new messages follow and are no replays."""
    ada = cluster.chat("ada")
    here = ada.join("lobby")
    for number in range(5):
        here.say(f"old {number}")
    there = cluster.chat("bob").join("lobby", history=3)
    assert there.replays == 3
    here.say("new")
    heard = hear(there, 4)
    assert [(message.text, message.replay) for message in heard] == [
        ("old 2", True),
        ("old 3", True),
        ("old 4", True),
        ("new", False),
    ]


def test_posts_are_logged_in_order(cluster: Cluster) -> None:
    """Posts made without waiting keep their order, also more of them than may be under way at once."""
    room = cluster.chat("ada").join("lobby")
    count = outbox.MAX_PENDING + 200
    posts = [room.post(str(number)) for number in range(count)]
    logged = [post.result(10) for post in posts]
    assert [message.text for message in logged] == [str(number) for number in range(count)]
    assert [message.offset for message in logged] == list(range(1, count + 1))


def test_threads_share_a_chat(cluster: Cluster) -> None:
    """Several threads may post at once: each gets its own message back."""
    room = cluster.chat("ada").join("lobby")

    def talk(who: int) -> None:
        for number in range(20):
            assert room.say(f"{who} {number}").text == f"{who} {number}"

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(talk, range(5)))
    assert [message.offset for message in hear(room, 100)] == list(range(1, 101))


def test_a_post_sent_again_is_logged_once(cluster: Cluster) -> None:
    """A post whose id is logged already gets the offset of the first one."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    first = room.say("once")
    ada.outbox._last_id = 0
    assert room.say("once") == first
    assert [message.text for message in hear(room, 1)] == ["once"]
    assert room.say("twice").offset == 2


def test_posts_under_way_are_bounded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the log is blocked, a bounded number of posts waits; the next one fails after its own timeout."""
    monkeypatch.setattr(outbox, "MAX_PENDING", 5)
    room = cluster.chat("ada").join("lobby")
    with a_slow_log(monkeypatch) as go_on:
        posts = [room.post(str(number)) for number in range(5)]
        with pytest.raises(DeadlineError, match="try again"):
            room.post("too many", timeout=0.1)
        go_on.set()
        assert [post.result(5).offset for post in posts] == [1, 2, 3, 4, 5]
    assert room.say("and on").offset == 6


def test_sessions_acknowledge_their_own_posts(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Posts of all sessions are numbered from 1: only session and number together name a post."""
    ada, bob = cluster.chat("ada"), cluster.chat("bob")
    here, there = ada.join("lobby"), bob.join("lobby")
    with a_slow_log(monkeypatch) as go_on:
        theirs = there.post("bob's")
        ours = here.post("ada's")
        go_on.set()
    assert (theirs.result(5).text, ours.result(5).text) == ("bob's", "ada's")


def test_a_list_cut_short_is_no_answer_to_who(cluster: Cluster) -> None:
    """The short list after a join answers no question; a whole list, in parts, answers all."""
    room = cluster.chat("ada").join("lobby")
    with ThreadPoolExecutor(4) as asking:
        answers = [asking.submit(room.who, 5) for _ in range(4)]
    assert [answer.result(0) for answer in answers] == [["ada"]] * 4
    bob = cluster.chat("bob")
    link = bob._reconnector.current
    assert link is not None
    apart = Room(bob, "apart")
    apart._link = link
    question = apart._requests.ask_who()
    apart.on_members(Members("apart", ["ada", "bob"], 3), link)
    assert not question.done()
    apart.on_members(Members("apart", ["ada", "bob"], 3, more=True), link)
    apart.on_members(Members("apart", ["cyd"], 3), link)
    assert question.result(0) == ["ada", "bob", "cyd"]


def test_a_text_too_long_is_refused_at_once(cluster: Cluster) -> None:
    """The caller gets an error, and the next text is logged."""
    room = cluster.chat("ada").join("lobby")
    with pytest.raises(UsageError, match="16384"):
        room.say("x" * (16 * 1024 + 1))
    assert room.say("x" * 16 * 1024).offset == 1


def test_changes_of_the_members(cluster: Cluster) -> None:
    """Each join and each leave is told once, and the roster follows."""
    room = cluster.chat("ada").join("lobby")
    assert (room.members, room.count) == (["ada"], 1)
    bob = cluster.chat("bob")
    there = bob.join("lobby")
    assert next(room.events(5)) == Presence("lobby", ("bob",), (), 2)
    assert room.members == room.who() == ["ada", "bob"]
    eventually(lambda: there.members == ["ada", "bob"])
    bob.close()
    assert next(room.events(15)) == Presence("lobby", (), ("bob",), 1)
    assert room.who() == ["ada"]


def test_who_lists_a_large_room(cluster: Cluster) -> None:
    """After a join a node lists only 200 names; `who` gets all of them, in parts."""
    for number in range(205):
        cluster.chat(f"guest{number:03}").join("lobby")
    rooms = [room for node in cluster.nodes if (room := node.rooms.get("lobby")) is not None]
    eventually(lambda: all(len(room.names) == 205 for room in rooms), what="the nodes know all members")
    last = cluster.chat("zoe").join("lobby")
    assert len(last.members) < last.count == 206
    assert len(last.who()) == 206
    assert last.members[-1] == "zoe"


def test_several_rooms_are_kept_apart(cluster: Cluster) -> None:
    """Each room has its own offsets and events; to leave one does not end the events of the other."""
    ada = cluster.chat("ada")
    lobby, den = ada.join("lobby"), ada.join("den")
    assert ada.join("lobby") is lobby
    assert ada.rooms == [lobby, den]
    lobby.say("here")
    den.say("there")
    den.leave()
    assert texts(list(den.events())) == ["there"]
    assert ada.rooms == [lobby]
    with pytest.raises(DisconnectedError, match="den was left"):
        den.say("too late")
    assert lobby.say("still here").offset == 2
    assert ada.join("den", history=5).replays == 1


def test_events_taken_late_are_complete(cluster: Cluster) -> None:
    """With more events than are kept, memory is bounded, posts are acknowledged, and all messages come, in order."""
    ada, bob = cluster.chat("ada"), cluster.chat("bob")
    here, there = ada.join("lobby"), bob.join("lobby")
    count = backlog.BOUND + 1500
    posts = [here.post(str(number)) for number in range(1, count + 1)]
    assert posts[-1].result(20).offset == count
    # Bob's own post is acknowledged, although he has read nothing and his backlog is full.
    assert there.say("bob").offset == count + 1
    cyd = cluster.chat("cyd")
    cyd.join("lobby")
    for room in (here, there):
        assert len(room._backlog) <= backlog.BOUND
        heard = hear(room, count + 1)
        assert [message.offset for message in heard] == list(range(1, count + 2))
        assert not any(message.replay for message in heard)
        assert "cyd" in room.members


def test_an_application_that_only_polls_gets_all(cluster: Cluster) -> None:
    """Messages that were let go are fetched again, also for a program that never waits for an event."""
    here, there = cluster.chat("ada").join("lobby"), cluster.chat("bob").join("lobby", backlog=5)
    for number in range(20):
        here.say(str(number))
    heard: list[str] = []

    def all_heard() -> bool:
        heard.extend(texts(list(there.events(timeout=0))))
        return len(heard) >= 20

    eventually(all_heard, what="bob has heard all")
    assert heard == [str(number) for number in range(20)]


def test_a_failing_log_fails_a_post(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The post fails with the words of the node, is not heard, and may be posted again."""
    room = cluster.chat("ada").join("lobby")

    def fail(*_: object) -> None:
        raise LogError("the disk is full: free some space")

    with monkeypatch.context() as broken:
        broken.setattr(MemoryLog, "append", fail)
        with pytest.raises(NodeError, match="disk is full") as caught:
            room.say("lost", timeout=0.5)
    assert caught.value.code == "unavailable"
    assert caught.value.retry_after
    assert room.say("again").offset == 1
    assert [message.text for message in hear(room, 1)] == ["again"]


def test_a_full_backlog_survives_a_failing_log(empty_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages come when the log can be read again, although it failed when they were asked for."""
    # Without recent frames in memory, the node has to read the log.
    empty_cluster.add_node("n1", ring_bytes=1)
    here, there = empty_cluster.chat("ada").join("lobby"), empty_cluster.chat("bob").join("lobby", backlog=10)
    for number in range(30):
        here.say(str(number))

    def fail(*_: object) -> None:
        raise LogError("the disk is away")

    with monkeypatch.context() as broken:
        broken.setattr(MemoryLog, "read", fail)
        heard = [event for event in there.events(0.3) if isinstance(event, Message)]
    assert len(heard) < 30
    heard += hear(there, 30 - len(heard))
    assert [message.offset for message in heard] == list(range(1, 31))


def test_close_ends_the_events_quietly(cluster: Cluster) -> None:
    """A thread that waits for events without a limit ends when the chat is closed, without a last event."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    heard: list[Event] = []
    listener = threading.Thread(target=lambda: heard.extend(room.events()))
    listener.start()
    room.say("bye")
    eventually(lambda: heard)
    ada.close()
    listener.join(5)
    assert not listener.is_alive()
    assert texts(heard) == ["bye"]
    assert len(heard) == 1
    with pytest.raises(DisconnectedError, match="closed"):
        room.say("more")


def test_a_quiet_node_is_pinged(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the ping keeps the connection."""
    monkeypatch.setattr(connection, "_SILENCE", 0.03)
    room = cluster.chat("ada").join("lobby")
    assert texts(list(room.events(0.5))) == []
    assert room.say("still here").offset == 1


_NODE = """
import sys
from parlour.node import Node, NodeSettings
node = Node(NodeSettings(brokers=(sys.argv[1],), name="frozen", log=sys.argv[2]))
node.start()
sys.stdin.read()
node.stop()
"""


def test_a_frozen_node_is_given_up(empty_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not answer even a ping is left, and the program goes on at another node."""
    monkeypatch.setattr(connection, "_SILENCE", 0.1)
    log = f"sqlite://{tmp_path}/log.sqlite"
    with subprocess.Popen([sys.executable, "-c", _NODE, empty_cluster.address, log], stdin=subprocess.PIPE) as node:
        try:
            with connect(empty_cluster.address, "ada") as ada:
                room = ada.join("lobby")
                os.kill(node.pid, signal.SIGSTOP)
                stat = Path(f"/proc/{node.pid}/stat")
                eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", what="the node stands still")
                empty_cluster.add_node("thawed", log=log)
                post = room.post("anybody?")
                events = room.events(5)
                lost = next(event for event in events if isinstance(event, Reconnecting))
                assert "silent" in lost.reason
                assert next(events) == Reconnected("thawed")
                assert post.result(5).text == "anybody?"
        finally:
            node.kill()


def test_a_late_acknowledgement_is_an_error(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call does not wait longer than its timeout; the message may be logged all the same."""
    room = cluster.chat("ada").join("lobby")
    with a_slow_log(monkeypatch), pytest.raises(DeadlineError, match="may have been logged"):
        room.say("slow", timeout=0.1)
    assert [message.text for message in hear(room, 1)] == ["slow"]


# --- the way in -----------------------------------------------------------------------------------------------


def test_no_broker_is_told_in_time() -> None:
    """Without a broker one line says how to start one, before the timeout."""
    started = time.monotonic()
    with pytest.raises(UnavailableError, match="parlour up"):
        connect("127.0.0.1:1", "ada", timeout=0.3)
    assert time.monotonic() - started < 2


def test_one_broker_of_two_is_enough(cluster: Cluster) -> None:
    """With several brokers, those that are away do not matter."""
    with connect(["127.0.0.1:1", cluster.address], "ada", timeout=5) as ada:
        assert ada.join("lobby").say("in").offset == 1


def test_a_wrong_name_is_refused_at_once() -> None:
    """The limits are checked before a broker is asked."""
    with pytest.raises(UsageError):
        connect("127.0.0.1:1", "")


def test_a_fleet_without_nodes(empty_cluster: Cluster) -> None:
    """The caller gets the refusal of the broker when the time is over."""
    with pytest.raises(RefusedError):
        connect(empty_cluster.address, "ada", timeout=2.0)


def test_a_node_that_comes_later_is_used(empty_cluster: Cluster) -> None:
    """The client asks again after the time that the refusal names."""
    with ThreadPoolExecutor(1) as waiting:
        coming = waiting.submit(empty_cluster.chat, "ada")
        assert not coming.done()
        empty_cluster.add_node("n1")
        assert coming.result(10).node == "n1"


def test_an_unreachable_node_is_passed_over(empty_cluster: Cluster) -> None:
    """A client that cannot reach its node tells the broker so, and reaches another node within the same connect."""
    empty_cluster.add_node("away", advertise="127.0.0.1:1")
    empty_cluster.add_node("here")
    assert {empty_cluster.chat(f"guest{number}").node for number in range(4)} == {"here"}
    notes = []
    for number in range(4):
        _, reply = ask([empty_cluster.address], Why(f"guest{number}"))
        assert isinstance(reply, Decisions)
        notes += [c.note for decision in reply.found for c in decision.candidates if c.node == "away"]
    assert any("reach" in note for note in notes)


def test_an_unreachable_fleet_is_told(empty_cluster: Cluster) -> None:
    """If no node can be reached, the error comes in time and in one line."""
    empty_cluster.add_node("away", advertise="127.0.0.1:1")
    with pytest.raises((DeadlineError, RefusedError)) as caught:
        connect(empty_cluster.address, "ada", timeout=5)
    assert "\n" not in str(caught.value)
