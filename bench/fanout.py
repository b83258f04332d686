"""How many deliveries a second one node makes, and at what cost, beside the same node with a plain `sendall` loop.

One room of 10, 100 and 1000 members, of whom ten say 64-byte texts with 16 in flight each; the room log is on
(SQLite, default settings). The node has one core to itself, the generator (this process) the other. Every delivery
at every member is counted; the CPU time is the node's, user and system.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from parlour.runtime.asking import ask
from parlour.runtime.descriptors import raise_limit
from parlour.wire.codec import NodeDecoder, frame
from parlour.wire.control import Assign, Assigned, Fleet, Status
from parlour.wire.errors import ParlourError
from parlour.wire.limits import PROTOCOL, parse_address
from parlour.wire.messages import Hello, Join, Say

__all__: list[str] = []

SIZES = (10, 100, 1000)
SENDERS = 10
WINDOW = 16
TEXT = 64
BROKER = "127.0.0.1:16000"
ROOM = "bench"
MARK = b"#bench#"
NODES = {"combining": ["-m", "parlour.cli"], "plain sendall": [str(Path(__file__).with_name("plain_node.py"))]}


class Cell(NamedTuple):
    """What one run measured."""

    node: str
    members: int
    deliveries: float  # per second
    cpu: float  # seconds per million deliveries
    user: float  # of these, outside the kernel


class Counter:
    """Counts a mark in a stream, also where a read splits it."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._tail = b""

    def count(self, data: bytes) -> int:
        """Return how many marks `data` completes. Counting bytes is what Python does quickest."""
        rest = len(self._mark) - 1
        found = data.count(self._mark) + (self._tail + data[:rest]).count(self._mark)
        self._tail = data[-rest:] if len(data) >= rest else (self._tail + data)[-rest:]
        return found


class Member:
    """One connection of the generator."""

    def __init__(self, number: int) -> None:
        _, assigned = ask([BROKER], Assign(f"m{number}", protocol=PROTOCOL))
        assert isinstance(assigned, Assigned)
        self.socket = socket.create_connection(parse_address(assigned.address))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(frame(Hello(f"m{number}", assigned.ticket, PROTOCOL)) + frame(Join(ROOM)))
        decoder, heard = NodeDecoder(), 0
        while heard < 3:  # welcome, joined, members
            heard += len(list(decoder.feed(self.socket.recv(65536))))
        self.socket.setblocking(False)
        mark = f"<{number:05}>"
        self.text = (MARK.decode() + mark).ljust(TEXT, ".")
        self.all, self.own = Counter(MARK), Counter(mark.encode())
        self.sends = number < SENDERS
        self.said = self.received = 0

    def say(self, count: int) -> None:
        """Send so many posts in one piece."""
        posts = [frame(Say(ROOM, self.said + n, self.text)) for n in range(1, count + 1)]
        self.said += count
        self.socket.send(b"".join(posts))

    def read(self) -> int:
        """Count what has arrived; return how many of the member's own came back."""
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return 0
        self.received += self.all.count(data)
        return self.own.count(data) if self.sends else 0


def cpu(pid: int) -> tuple[float, float]:
    """Return the CPU time that a process has used, user and system, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


@contextlib.contextmanager
def parts(node: str, log: str) -> Iterator[int]:
    """Run a broker and a node of this kind, and yield the node's process id."""
    last = max(os.sched_getaffinity(0))
    commands = [
        ["-m", "parlour.cli", "broker", "--bind", BROKER],
        [*NODES[node], "node", "--broker", BROKER, "--log", log],
    ]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            running.append(subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE))
            assert running[-1].stdout is not None
            if b"ready" not in running[-1].stdout.readline():
                raise SystemExit(f"{command} did not start")
        os.sched_setaffinity(running[1].pid, {last})
        for task in os.listdir(f"/proc/{running[1].pid}/task"):
            os.sched_setaffinity(int(task), {last})
        yield running[1].pid
    finally:
        for process in reversed(running):
            process.terminate()
            process.communicate(timeout=10)


def measure(node: str, size: int, seconds: float, log: str) -> Cell:
    """Run one cell; fails if a delivery is missing or doubled."""
    with parts(node, log) as pid, contextlib.ExitStack() as stack, select.epoll() as epoll:
        members: dict[int, Member] = {}
        for number in range(size):
            member = Member(number)
            stack.callback(member.socket.close)
            members[member.socket.fileno()] = member
            epoll.register(member.socket, select.EPOLLIN)
        everyone = list(members.values())
        senders = [member for member in everyone if member.sends]

        def turn(until: float, refill: bool) -> None:
            for fd, _ in epoll.poll(max(0.0, until - time.monotonic())):
                back = members[fd].read()
                if back and refill:
                    members[fd].say(back)

        for sender in senders:
            sender.say(WINDOW)
        warm = time.monotonic() + seconds / 4
        while time.monotonic() < warm:
            turn(warm, refill=True)
        begun, before, used = time.monotonic(), sum(member.received for member in everyone), cpu(pid)
        end = begun + seconds
        while time.monotonic() < end:
            turn(end, refill=True)
        elapsed, now = time.monotonic() - begun, cpu(pid)
        deliveries = sum(member.received for member in everyone) - before
        said = sum(member.said for member in everyone)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and any(member.received < said for member in everyone):
            turn(deadline, refill=False)
        wrong = [member.received - said for member in everyone if member.received != said]
        if wrong:
            raise SystemExit(f"{node}, {size} members: deliveries missing or doubled: {wrong[:10]}")
        user, system = now[0] - used[0], now[1] - used[1]
        millions = deliveries / 1e6
        return Cell(node, size, deliveries / elapsed, (user + system) / millions, user / millions)


def main() -> None:
    """Measure every cell and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each cell is measured")
    parser.add_argument("--log", help="the room log's URL; a SQLite file in a temporary folder unless given")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    raise_limit()
    with contextlib.suppress(ParlourError):
        _, fleet = ask([BROKER], Status(), timeout=0.5)
        if isinstance(fleet, Fleet):
            raise SystemExit(f"a broker runs at {BROKER} already: stop it first")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cells: list[Cell] = []
    for size in SIZES:
        for node in NODES:
            with tempfile.TemporaryDirectory() as folder:
                cells.append(measure(node, size, options.seconds, options.log or f"sqlite://{folder}/log.sqlite"))
                print(f"{cells[-1]}", file=sys.stderr)
    if options.json:
        print(json.dumps([cell._asdict() for cell in cells], indent=1))
        return
    print("| members | node | deliveries/s | x plain | CPU s per million | of it user |")
    print("|---:|---|---:|---:|---:|---:|")
    for cell in cells:
        (plain,) = (other for other in cells if other.members == cell.members and other.node == "plain sendall")
        print(
            f"| {cell.members} | {cell.node} | {cell.deliveries:,.0f} | {cell.deliveries / plain.deliveries:.1f} "
            f"| {cell.cpu:.2f} | {cell.user:.2f} |"
        )


if __name__ == "__main__":
    main()
