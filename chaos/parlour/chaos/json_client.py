"""A client that speaks JSON lines, as a program without the library does: it posts, reads, comes back and moves.

This module owns the client's positions in its rooms and its posts. The client's own thread alone uses the connection;
another thread posts, and another takes records. It must never yield a record twice or out of order, nor forget a post
that is not answered, nor tell a post refused that may be logged.
"""

from __future__ import annotations

import secrets
import select
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from parlour.chaos.json_connection import Entrance, JsonConnection, refusal
from parlour.chaos.records import Record
from parlour.chaos.requests import Door
from parlour.client.backoff import BRIEF, Backoff
from parlour.client.errors import DisconnectedError, NodeError
from parlour.runtime.broker_rpc import RefusedError
from parlour.runtime.threads import Service
from parlour.wire.errors import ParlourError

__all__ = ["Acknowledged", "JsonClient"]

NEVER = float("inf")

RETURNING = 0.3
"""Seconds after which a client that was shown out of a room, or is banned from it, tries to join it again."""

SHOWN_OUT = frozenset({"banned", "kicked"})
"""Codes of errors that tell why a client is not in a room."""


class Acknowledged(NamedTuple):
    """The acknowledgement of a post: the id and the offset of its record."""

    id: str
    offset: int


@dataclass
class _Place:
    """The client's position in a room."""

    epoch: str | None = None
    """The room's epoch; None before the first `joined`."""
    last: int = 0
    """The offset of the last record that the client took."""
    id: str = ""
    """The id of the record at `last`; empty if it is not known."""
    inside: bool = False
    """Whether this connection has joined the room."""
    asked: bool = False
    """Whether a `join` is not answered yet, or was refused and is due again."""
    join_at: float = NEVER
    """When to send a refused `join` again; NEVER if none was refused."""


@dataclass
class _Pending:
    say: dict[str, Any]
    answer: Future[Acknowledged]
    due: float = 0.0
    """When to send it; NEVER if it was sent on this connection and not refused."""
    sent: bool = False
    """Whether it was sent on any connection."""
    doubtful: bool = False
    """Whether it was sent before, so that a refusal does not prove that it is not logged."""


class JsonClient(Service):
    """A client in these rooms; `start` returns once it has joined all of them.

    Attributes:
        node: the name of the current node, or of the last one; None before it is connected.
        returns: how often it came back after a loss.
        troubles: what went wrong, as pairs of a room and a line.
    """

    def __init__(
        self,
        name: str,
        rooms: Sequence[str],
        door: Door,
        brokers: Sequence[str],
        nodes: Mapping[str, str],
        history: int = 0,
        *,
        proof: Mapping[str, str] | None = None,
        strict: Collection[str] = (),
    ) -> None:
        """Prepare the client; `nodes` gives addresses by name, `history` how many old records a newcomer asks for.

        `proof` has the fields of `hello` that sign it in. From the rooms in `strict` it may be shown out; it comes back
        as soon as it may, and its posts fail meanwhile: with NodeError if they are not logged, with DisconnectedError
        if that is not known.
        """
        super().__init__(f"{name}-lines")
        self.node: str | None = None
        self.returns = 0
        self.troubles: list[tuple[str, str]] = []
        self._entrance = Entrance(name, secrets.token_hex(16), door, brokers, nodes, proof or {})
        self._history = history
        self._strict = strict
        self._places = {room: _Place() for room in rooms}
        self._connection: JsonConnection | None = None
        self._entered = self._interrupted = False
        self._backoff = Backoff()
        self._last_id = 0
        self._new: deque[_Pending] = deque()  # posts that the client's thread has not taken yet
        self._posts: dict[int, _Pending] = {}  # posts that are not answered, by id
        self._records: deque[tuple[str, Record, float]] = deque()

    # --- for other threads --------------------------------------------------------------------------------------

    def post(self, room: str, text: str, kind: str = "", ref: int = 0) -> Future[Acknowledged]:
        """Post a record; the future gives its acknowledgement, or NodeError. One thread alone may call this."""
        self._last_id += 1
        say: dict[str, Any] = {"room": room, "id": self._last_id, "text": text}
        if kind:
            say["kind"] = kind
        if ref:
            say["ref"] = ref
        post = _Pending(say, Future())
        self._new.append(post)
        self.wake()
        return post.answer

    def take(self) -> Iterator[tuple[str, Record, float]]:
        """Yield each new record with its room before it, and its time (seconds since the Unix epoch) behind it."""
        while self._records:
            yield self._records.popleft()

    # --- the client's thread ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Enter and serve the connection, again whenever it is lost, until the client is stopped."""
        while not self.stopping:
            try:
                self._begin(self._entrance.enter())
                self._serve()
            except (OSError, ParlourError) as error:
                again = time.monotonic() + self._lost(error)
                while not self.stopping and (left := again - time.monotonic()) > 0:
                    self._wait(left)
        if self._connection is not None:
            self._connection.close(politely=True)

    def _lost(self, error: OSError | ParlourError) -> float:
        """Note that the connection, or an attempt to make one, failed; return how many seconds to wait."""
        if self._connection is not None:
            self._entrance.failed = [self._connection.node]
            self._connection.close()
            self._connection, self._interrupted = None, True
        if isinstance(error, RefusedError | NodeError) and error.retry_after is not None:
            return self._backoff.told(error.retry_after)
        return self._backoff.next(BRIEF)

    def _wait(self, timeout: float, connection: JsonConnection | None = None) -> bool:
        """Wait until the connection can be read, another thread wakes the client or time is up; return the first."""
        poll = select.poll()
        poll.register(self.wakeup, select.POLLIN)
        if connection is not None:
            poll.register(connection.socket, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(max(0.0, 1000 * timeout))]
        if self.wakeup in ready:
            self.clear_wakeup()
        return connection is not None and connection.socket.fileno() in ready

    def _begin(self, connection: JsonConnection) -> None:
        """Go on with this connection: join all rooms. Posts without an answer follow when their room is joined."""
        self._connection, self.node = connection, connection.node
        for post in self._posts.values():
            post.due, post.doubtful = 0.0, post.sent
        for room, place in self._places.items():
            place.inside = False
            self._join(connection, room, place)

    def _join(self, connection: JsonConnection, room: str, place: _Place) -> None:
        position: dict[str, object] = {}
        if place.epoch is not None:
            position = {"after": place.last, "epoch": place.epoch}
            if place.id:
                position["id"] = place.id
        place.asked, place.join_at = True, NEVER
        connection.send("join", room=room, history=self._history, **position)

    def _serve(self) -> None:
        """Read and write until the client is stopped; raises OSError or NodeError when the connection is lost."""
        while not self.stopping and (connection := self._connection) is not None:
            due = self._send(connection, time.monotonic())
            if self._wait(due - time.monotonic(), connection):
                connection.read()
                # After a `move`, the new connection brings again what is left here.
                while connection.messages and self._connection is connection:
                    self._handle(connection, connection.messages.popleft())

    def _send(self, connection: JsonConnection, now: float) -> float:
        """Send what is due, and return when something is due next."""
        if now >= connection.silent_at:
            raise ConnectionError("the node is silent")
        if now >= connection.ping_at:
            connection.ping_at = connection.silent_at
            connection.send("ping")
        while self._new:
            post = self._new.popleft()
            self._posts[post.say["id"]] = post
        due = connection.ping_at
        for room, place in self._places.items():
            if place.join_at <= now:
                self._join(connection, room, place)
            due = min(due, place.join_at)
        for post in self._posts.values():
            if self._places[post.say["room"]].inside:
                if post.due <= now:
                    post.due, post.sent = NEVER, True
                    connection.send("say", **post.say)
                due = min(due, post.due)
        return due

    def _handle(self, connection: JsonConnection, message: dict[str, Any]) -> None:
        match message["type"]:
            case "message":
                self._on_message(connection, message)
            case "accepted":
                self._acknowledge(connection, message["id"], message["offset"])
            case "joined":
                self._on_joined(message)
            case "left":
                self._on_left(message["room"])
            case "error":
                self._on_error(message)
            case "ping":
                connection.send("pong")
            case "move":
                self._follow(connection, message)
            case "bye":
                raise ConnectionError("the node said bye")

    def _on_joined(self, joined: dict[str, Any]) -> None:
        place, recovered = self._places[joined["room"]], joined.get("recovered", True)
        if place.epoch is None or not recovered:
            if place.epoch is not None:
                self.troubles.append((joined["room"], "it could not go on from its last message"))
            place.last, place.id = joined["after"], joined.get("id", "")
        place.epoch, place.inside, place.asked = joined["epoch"], True, False
        self.returns += self._interrupted and self._entered
        self._interrupted = False
        self._entrance.failed, self._backoff = [], Backoff()
        if not self._entered and all(each.inside for each in self._places.values()):
            self._entered = True
            self.ready()

    def _on_left(self, room: str) -> None:
        """Come back after a while: this client leaves no room by itself."""
        place = self._places[room]
        place.inside, place.asked, place.join_at = False, True, time.monotonic() + RETURNING
        if room not in self._strict:
            self.troubles.append((room, "it was shown out"))

    def _on_banned(self, room: str, refused: NodeError) -> None:
        """Fail the posts that cannot be sent now, and try to come in later."""
        self._places[room].join_at = time.monotonic() + RETURNING
        for number, post in list(self._posts.items()):
            if post.say["room"] == room and post.due != NEVER:
                self._refuse(number, refused)

    def _refuse(self, number: int, refused: NodeError) -> None:
        """Fail a post, for good."""
        post = self._posts.pop(number)
        doubtful = post.doubtful and post.say["room"] in self._strict
        post.answer.set_exception(
            DisconnectedError(f"{refused}; it may have been logged before") if doubtful else refused
        )

    def _on_message(self, connection: JsonConnection, message: dict[str, Any]) -> None:
        room, offset = message["room"], message["offset"]
        session, _, number = message["id"].rpartition("-")
        if session == connection.session:
            self._acknowledge(connection, int(number), offset)
        place = self._places[room]
        if offset == place.last + 1:
            place.last, place.id = offset, message["id"]
            kind, ref = message.get("kind", ""), message.get("ref", 0)
            record = Record(offset, message["id"], message["by"], message["at"], message["text"], kind, ref)
            self._records.append((room, record, time.time()))
        elif offset > place.last and not place.asked:
            self._join(connection, room, place)  # Records are missing.

    def _acknowledge(self, connection: JsonConnection, number: int, offset: int) -> None:
        post = self._posts.pop(number, None)
        if post is not None:
            post.answer.set_result(Acknowledged(f"{connection.session}-{number}", offset))

    def _on_error(self, error: dict[str, Any]) -> None:
        refused, room, number = refusal(error), error.get("room", ""), error.get("id")
        if error.get("fatal"):
            raise refused
        again = None if refused.retry_after is None else time.monotonic() + refused.retry_after
        if number in self._posts:
            if again is None:
                self._refuse(number, refused)
            else:
                self._posts[number].due, self._posts[number].doubtful = again, True
        elif number is None and room in self._places and again is not None:
            self._places[room].join_at = again
        elif number is None and room in self._strict and refused.code in SHOWN_OUT:
            if not self._places[room].inside:  # else `left` follows
                self._on_banned(room, refused)
        elif number is None:
            self.troubles.append((room, f"{refused.code}: {refused}"))

    def _follow(self, connection: JsonConnection, move: dict[str, Any]) -> None:
        """Go on at another node; stay here if that node does not let the client in."""
        try:
            new = self._entrance.dial(move["node"], move["address"], move["ticket"])
        except (OSError, NodeError):
            return
        try:
            self._begin(new)
        finally:
            connection.close(politely=True)
