"""Broadcast: the same bytes to many sockets, by rings and with single sends."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from parlour.node.clients.broadcast import MAX_SENDS, MIN_SOCKETS, RINGS, Broadcast
from parlour.node.clients.transport import TcpTransport
from parlour.node.clients.writer import ConnectionWriter
from parlour.node.rooms.batch import Batch
from parlour.node.rooms.member import Member
from parlour.node.rooms.room import Room
from parlour.runtime.threads import join_all, spawn
from parlour.wire.messages import Message
from parlour.wire.people import Person
from support.cluster import RawClient, cluster
from support.ports import free_ports
from support.processes import processes
from support.waiting import poll

NEAR_FULL = 1 << 20

Pairs = list[tuple[socket.socket, socket.socket]]


@pytest.fixture(params=[RINGS, 0], ids=["rings", "one by one"])
def broadcast(request: pytest.FixtureRequest) -> Iterator[Broadcast]:
    """Return both ways of sending; this kernel must offer rings, or the test would show nothing."""
    made = Broadcast(request.param)
    assert made.unavailable_reason == ""
    yield made
    made.close()


@contextlib.contextmanager
def connected(count: int) -> Iterator[Pairs]:
    """Open pairs of TCP connections: the node's side and the client's."""
    with contextlib.ExitStack() as closing, socket.create_server(("127.0.0.1", 0), backlog=count) as listening:
        pairs: Pairs = []
        for _ in range(count):
            far = closing.enter_context(socket.create_connection(listening.getsockname(), timeout=5))
            pairs.append((closing.enter_context(listening.accept()[0]), far))
        yield pairs


def read(far: socket.socket, size: int) -> bytes:
    """Read so many bytes, or fewer at the end."""
    data = b""
    while len(data) < size and (more := far.recv(size - len(data))):
        data += more
    return data


def fill(near: socket.socket) -> None:
    """Send until the socket has taken nothing for a while: the system makes room when it moves or joins data."""

    def more() -> int:
        with contextlib.suppress(BlockingIOError):
            return near.send(bytes(NEAR_FULL), socket.MSG_DONTWAIT)
        return 0

    while poll(more, 0.2):
        pass


@pytest.mark.parametrize(
    "count", [1, MIN_SOCKETS - 1, MIN_SOCKETS, MAX_SENDS - 1, MAX_SENDS, MAX_SENDS + 1, 3 * MAX_SENDS + 7]
)
def test_all_sockets_get_all_data_in_order(broadcast: Broadcast, count: int) -> None:
    """Also when the requests wrap around the end of the ring, each time at another place."""
    lines = [f"line {number} ".encode() * number for number in range(1, 12)]
    with connected(count) as pairs:
        for line in lines:
            assert broadcast.send([near for near, _ in pairs], line) == [len(line)] * count
        whole = b"".join(lines)
        assert {read(far, len(whole)) for _, far in pairs} == {whole}


def test_results_belong_to_their_sockets(broadcast: Broadcast) -> None:
    """Among 16 sockets one is full, one is gone, one has ended its side: each keeps its own result."""
    data = bytes(4 * NEAR_FULL)
    for offset in range(4):
        with connected(16) as pairs:
            nears = [near for near, _ in pairs]
            full, gone, ended = ((offset + step) % 16 for step in (3, 7, 11))
            nears[gone].shutdown(socket.SHUT_RDWR)
            fill(nears[ended])
            nears[ended].shutdown(socket.SHUT_WR)
            fill(nears[full])
            results = broadcast.send(nears, data)
            assert results[full] == -errno.EAGAIN
            assert results[gone] == results[ended] == -errno.EPIPE
            others = [index for index in range(16) if index not in (full, gone, ended)]
            assert all(0 < results[index] < len(data) for index in others)
            assert {read(pairs[index][1], results[index]) for index in others} == {
                data[: results[index]] for index in others
            }


def test_more_threads_than_rings(broadcast: Broadcast) -> None:
    """Data of one thread never reaches another thread's sockets."""
    threads, times = RINGS + 6, 40

    def send(number: int, pairs: Pairs) -> None:
        for _ in range(times):
            assert broadcast.send([near for near, _ in pairs], bytes([number]) * 100) == [100] * MIN_SOCKETS

    with connected(threads * MIN_SOCKETS) as pairs:
        parts = [pairs[number * MIN_SOCKETS :][:MIN_SOCKETS] for number in range(threads)]
        join_all([spawn(f"sender-{number}", send, number, part) for number, part in enumerate(parts)], 30)
        for number, part in enumerate(parts):
            for _, far in part:
                assert read(far, 100 * times) == bytes([number]) * 100 * times


def test_send_after_close() -> None:
    """A thread that is late when a node stops can still send."""
    broadcast = Broadcast()
    with connected(MIN_SOCKETS) as pairs:
        nears = [near for near, _ in pairs]
        broadcast.close()
        assert broadcast.send(nears, b"by hand") == [7] * MIN_SOCKETS
        assert {read(far, 7) for _, far in pairs} == {b"by hand"}


def test_members_get_the_part_they_lack(broadcast: Broadcast) -> None:
    """Members get a whole batch, its rest or nothing; a member that lacks earlier messages falls behind."""
    bodies = [b"\0\0\0\1" + letter for letter in (b"a", b"b", b"c")]
    batch = Batch(5, 7, b"".join(bodies))
    lagging: list[ConnectionWriter] = []
    with connected(2 * MAX_SENDS + 9) as pairs:
        nowhere = cast(Room, None)
        writers = [ConnectionWriter(TcpTransport(near), 1000, lagging.append) for near, _ in pairs]
        members = [Member(writer, nowhere, "", Person(""), True) for writer in writers]
        positions = {0: 3, 1: 5, 2: 7, MAX_SENDS: 6, MAX_SENDS + 1: 3, len(pairs) - 1: 5}
        for index, member in enumerate(members):
            member.offset = positions.get(index, 4)
        assert ConnectionWriter.deliver(broadcast, tuple(members), None, [batch])[0] == len(pairs) - 3
        for index, (near, far) in enumerate(pairs):
            near.shutdown(socket.SHUT_WR)
            position = positions.get(index, 4)
            assert read(far, 1000) == (b"".join(bodies[position - 4 :]) if position > 3 else b"")
        assert lagging == [members[0].subscriber, members[MAX_SENDS + 1].subscriber]
        assert {member.offset for member in members} == {3, 7}


def test_large_room_with_slow_and_broken_members() -> None:
    """One member sleeps and one breaks off: no member misses a message, and the order holds."""
    count, text = 2000, "x" * 2000
    names = [f"m{number}" for number in range(2 * MIN_SOCKETS)]
    with cluster(1) as running, running.clients(*names, room="lobby") as (first, sleeper, broken, *others):
        heard: dict[str, list[int]] = {client.name: [] for client in (first, *others)}

        def listen(client: RawClient) -> None:
            heard[client.name] += [client.get(Message).offset for _ in range(count)]

        readers = [spawn(f"reader-{client.name}", listen, client) for client in (first, *others)]
        for part in range(20):
            first.say("lobby", *[text] * (count // 20))
            if part == 5:
                broken.close()
        join_all(readers, 60)
        assert all(offsets == list(range(1, count + 1)) for offsets in heard.values())
        assert [sleeper.get(Message).offset for _ in range(count)] == list(range(1, count + 1))


def test_rooms_with_the_same_members_do_not_block() -> None:
    """The rooms' combiners meet each other's busy writers all the time."""
    rooms, names, count = ["red", "blue", "green"], [f"m{number}" for number in range(2 * MIN_SOCKETS)], 100
    with cluster(1) as running, running.clients(*names) as clients:
        heard: dict[tuple[str, str], list[int]] = {}

        def talk(client: RawClient) -> None:
            for _ in range(count):
                for room in rooms:
                    client.say(room, "hello")
            for _ in range(count * len(rooms) * len(clients)):
                message = client.get(Message)
                heard.setdefault((client.name, message.room), []).append(message.offset)

        for client in clients:
            for room in rooms:
                client.join(room)
        join_all([spawn(f"talker-{client.name}", talk, client) for client in clients], 60)
        assert len(heard) == len(rooms) * len(clients)
        assert all(offsets == list(range(1, count * len(clients) + 1)) for offsets in heard.values())


FORBID = """
import ctypes, errno, os, socket, struct, sys

def forbid(number):
    # A filter as in containers: this system call fails with EPERM, all others pass.
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | errno.EPERM), (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(38, 1, 0, 0, 0) == 0
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    assert prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()

IO_URING_SETUP, IO_URING_ENTER = 425, 426
"""

WITHOUT_RINGS = f"{FORBID}\nforbid(IO_URING_SETUP)\nos.execv(sys.argv[1], sys.argv[1:])"

REFUSED_REQUESTS = f"""{FORBID}
from parlour.node.clients.broadcast import MIN_SOCKETS, Broadcast
opened = Broadcast()
forbid(IO_URING_ENTER)
pairs = [socket.socketpair() for _ in range(MIN_SOCKETS)]
for line in (b"one", b"other"):
    assert opened.send([near for near, _ in pairs], line) == [len(line)] * MIN_SOCKETS
    assert [far.recv(10) for _, far in pairs] == [line] * MIN_SOCKETS
print(repr(opened.unavailable_reason), repr(Broadcast().unavailable_reason))
"""

filtered = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="the filter is written for 64 bits"
)


@filtered
def test_refused_requests_are_sent_singly() -> None:
    """The kernel may refuse requests, as if it lacked memory; a Broadcast that is made then tells the reason."""
    done = subprocess.run(
        [sys.executable, "-c", REFUSED_REQUESTS], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.stdout, done.stderr) == ("'' 'it needs Linux 5.6 or later, and permission to use it'\n", "")


@filtered
def test_node_works_without_rings(tmp_path: Path) -> None:
    """As in a container: one line tells why the node is slower, and everything works."""
    port = free_ports(1)
    with processes() as started:
        started.broker(port)
        log = f"sqlite://{tmp_path}/log.sqlite"
        arguments = ("node", "--name", "n1", "--broker", f"127.0.0.1:{port}", "--log", log)
        node = started.start(*arguments, on=(sys.executable, "-c", WITHOUT_RINGS))
        with contextlib.ExitStack() as closing:
            names = [f"m{number}" for number in range(2 * MIN_SOCKETS)]
            clients = [closing.enter_context(RawClient(f"127.0.0.1:{port}", name)) for name in names]
            for client in clients:
                client.join("lobby")
            clients[0].say("lobby", "hello")
            assert [client.texts(1) for client in clients] == [["hello"]] * len(clients)
        status, errors = started.stop(node)
        assert status == 0
        reason = os.strerror(errno.EPERM)
        (line,) = [line for line in errors.splitlines() if " warning " in line]
        assert line.endswith(
            f"node n1: io_uring is not available ({reason}): each delivery needs a system call and is slower"
        )
