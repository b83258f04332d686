"""What one client may do: its hello, its rooms, its posts. Each runs on the client's own thread.

This module owns the reading side of a connection and the rights of who is behind it. It must never write to the
socket but through the writer, nor trust a byte of what it reads.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from parlour.node.clients.catchup import TURN, catch_up
from parlour.node.clients.writer import ConnectionWriter, Member
from parlour.node.log import LogError, Post
from parlour.node.rooms.history import PAUSE, Questions, read_page
from parlour.node.rooms.postqueue import Submission
from parlour.wire.codec import ClientDecoder, decode_ticket, frame
from parlour.wire.errors import ProtocolError, UsageError
from parlour.wire.limits import MAX_QUESTIONS, WINDOW, check_protocol, minor_version
from parlour.wire.messages import (
    Bye,
    ClientMessage,
    Error,
    Hello,
    History,
    Join,
    Leave,
    Left,
    Ping,
    Pong,
    Say,
    Welcome,
    Who,
)

if TYPE_CHECKING:
    from parlour.node.node import Node

__all__ = ["Session", "session_of"]

CHUNK = 16 * 1024
"""Bytes read at once: all frames that are there are taken together, within reason."""

DRAIN = 0.5
"""Seconds a connection is read on after its last frame was sent: an unread byte would make the system drop it."""

_PING = frame(Ping())
_PONG = frame(Pong())


def session_of(key: str) -> str:
    """Return the name of the session that a key is the secret of: everybody may see it, and nobody can claim it."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:16]


class _RefusedError(ProtocolError):
    """The connection ends here, and the client is told why and whether it may come again."""

    def __init__(self, code: str, text: str, retry_after: float | None = None) -> None:
        super().__init__(text, code)
        self.retry_after = retry_after


class Session:
    """One client, from its hello to its leaving."""

    def __init__(self, node: Node, sock: socket.socket) -> None:
        self._node = node
        self._settings = node.settings
        self._socket = sock
        self._members: dict[str, Member] = {}
        self._decoder = ClientDecoder()
        self._heard_at = time.monotonic()
        self.name = ""
        self._modern = False  # whether it speaks protocol 1.1 or a later minor
        self.id = ""
        self._observer = self._bot = False
        self.since = time.monotonic()
        self.leaves_by = 0.0  # until then, in monotonic seconds, it may follow the last request to move
        self._said_bye = False
        self._questions = Questions()
        self._whos: set[str] = set()  # rooms of which the client asked who is there, in what was read last
        self._highest = 0  # of the ids of posts
        self.writer = ConnectionWriter(sock, node.settings.unread_answers, node.catchup.watch)
        self._handlers: dict[type, Callable[..., None]] = {
            Join: self._join,
            Leave: self._leave,
            Who: self._who,
            History: self._history,
            Ping: self._ping,
            Pong: self._pong,
        }

    @property
    def moving(self) -> bool:
        """Whether the client was asked to move, and still may."""
        return time.monotonic() < self.leaves_by

    # --- the connection ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve the client until it or the node ends the connection; close the socket."""
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            rest = self._greet()
            self._node.arrived()
            try:
                self._serve(rest)
            finally:
                self._node.left()
                # Who says bye leaves; who was cut off may come back, to this node or another, and who was asked to
                # move is there already, which the other nodes may not have heard yet.
                grace = 0.0 if self._said_bye and not self.moving else self._settings.grace
                for member in list(self._members.values()):
                    self._part(member, grace)
        except ProtocolError as error:
            self._node.refusals.add(error.code)
            retry_after = error.retry_after if isinstance(error, _RefusedError) else None
            self.writer.answer(frame(Error(error.code, str(error), retry_after=retry_after, fatal=True)))
            self._drain()
        except OSError:
            pass  # the connection broke: the client knows, or is gone
        finally:
            self.writer.hang_up()
            if self.writer.lagging:
                self._node.catchup.watch(self.writer)  # sees that it is closed, and drops it
            self._socket.close()

    def _timeout(self, seconds: float) -> None:
        """Let a blocking read return after so long; the socket's own option spares a poll before each read."""
        whole = int(seconds)
        self._socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", whole, int((seconds - whole) * 1e6))
        )

    def _greet(self) -> list[ClientMessage]:
        """Read the hello and welcome the client; return what came with it. Raises ProtocolError."""
        deadline = time.monotonic() + self._settings.hello_deadline
        said: list[ClientMessage] = []
        while not said:
            patience = deadline - time.monotonic()
            if patience <= 0:
                raise _RefusedError("no_hello", f"no whole hello came within {self._settings.hello_deadline:g} s")
            self._timeout(max(patience, 0.001))
            try:
                data = self._socket.recv(CHUNK)
            except BlockingIOError:
                continue
            if not data:
                raise ConnectionResetError
            said += self._decoder.feed(data)
        hello = said.pop(0)
        if not isinstance(hello, Hello):
            raise _RefusedError("no_hello", f"the first frame must be hello, not {type(hello).__name__.lower()}")
        try:
            check_protocol(hello.protocol)
        except UsageError as error:
            raise _RefusedError("bad_version", str(error)) from None
        ticket = decode_ticket(hello.ticket)
        self._node.tickets.redeem(ticket, self._node.name, hello.name)
        self._node.load.redeem(ticket.id)
        self.name = hello.name
        self._modern = minor_version(hello.protocol) >= 1
        self._observer, self._bot = hello.observer, hello.bot
        self.id = session_of(hello.key or secrets.token_hex())
        self.writer.answer(frame(Welcome(self._node.name, self.id)))
        return said

    def _serve(self, said: list[ClientMessage]) -> None:
        self._timeout(self._settings.ping_after)
        self._handle(said, 0)
        while True:
            try:
                data = self._socket.recv(CHUNK)
            except BlockingIOError:
                if time.monotonic() - self._heard_at >= self._settings.dead_after:
                    raise _RefusedError("silent", "nothing was heard for too long") from None
                self.writer.answer(_PING)
                continue
            if not data:
                return
            self._heard_at = time.monotonic()
            said = []
            try:
                said += self._decoder.feed(data)
            finally:
                # Also when the last frame is broken: those before it were not.
                self._handle(said, len(data))
            if self._said_bye or self.writer.closed:
                return

    def _drain(self) -> None:
        """Let the client read the last frame: end our side, and read on until it ends its own."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
            self._timeout(DRAIN)
            deadline = time.monotonic() + DRAIN
            while time.monotonic() < deadline and self._socket.recv(CHUNK):
                pass
        except OSError:
            pass

    # --- what the client asks ---------------------------------------------------------------------------------

    def _handle(self, said: list[ClientMessage], size: int) -> None:
        """Do what was asked, in order; posts that stand together are handed to their rooms together."""
        share = size // max(1, len(said))  # of the bytes read, for each message
        self._questions.read()
        posts: dict[str, list[Say]] = {}
        for message in said:
            if type(message) is Say:
                posts.setdefault(message.room, []).append(message)
                continue
            self._post(posts, share)
            posts = {}
            if isinstance(message, Hello):
                raise _RefusedError("again", "hello was said already")
            if isinstance(message, Bye):
                self._said_bye = True
                return
            # Nobody reads the answers any more; what was posted is said all the same.
            if not self.writer.closed:
                self._handlers[type(message)](message)
        self._post(posts, share)
        if self._whos:
            for name in list(self._whos):
                self._tell_who(name)

    def _tell_who(self, name: str) -> None:
        """Have the list of names sent, once however often it was asked for."""
        if name in self._whos:
            self._whos.remove(name)
            self._members[name].room.combine()

    def _post(self, said: dict[str, list[Say]], size: int) -> None:
        now, at = time.monotonic(), time.time_ns() // 1_000_000
        for name, says in said.items():
            member = self._members.get(name)
            if member is None:
                self._not_joined(name, [say.id for say in says])
                continue
            if self._observer:
                ids: list[int | None] = [say.id for say in says]
                self._refuse(name, ids, "observer", "an observer only listens: connect without that to speak")
                continue
            for say in says:
                if say.id > self._highest:
                    self._highest = say.id
                elif say.id <= self._highest - WINDOW:
                    says = self._without_stale(name, says)
                    break
            posts = [Post(self.id, say.id, self.name, at, say.text) for say in says]
            member.room.submit(Submission(member, posts, size * len(posts), now))

    def _without_stale(self, room: str, says: list[Say]) -> list[Say]:
        """Refuse the posts whose ids are far below the highest: they would be looked for in all that was logged."""
        self._highest = max(self._highest, *(say.id for say in says))
        least = self._highest - WINDOW
        for say in says:
            if say.id <= least:
                text = f"the id {say.id} is {WINDOW} or more below one that was used before: count up"
                self.writer.answer(frame(Error("stale_id", text, room, say.id)))
        return [say for say in says if say.id > least]

    def _not_joined(self, room: str, ids: Sequence[int | None]) -> None:
        self._refuse(room, ids, "not_joined", f"join {room} before")

    def _refuse(self, room: str, ids: Sequence[int | None], code: str, text: str) -> None:
        for number in ids:
            self.writer.answer(frame(Error(code, text, room, number)))

    def _join(self, join: Join) -> None:
        member = self._members.get(join.room)
        new = member is None
        if member is None:
            if len(self._members) >= self._settings.rooms_per_client:
                text = f"a client may be in {self._settings.rooms_per_client} rooms at once: leave one"
                self.writer.answer(frame(Error("too_many_rooms", text, join.room)))
                return
            try:
                room = self._node.rooms.hold(join.room)
            except LogError as error:
                self.writer.answer(self._unavailable(join.room, error))
                return
            flags = (self._modern, self._observer, self._bot)
            member = Member(self.writer, room, self.id, self.name, *flags)
            self.writer.enter(member)
        before = self.writer.hold(member)
        try:
            joined = member.room.enter(member, join)
        except LogError as error:
            if new:
                self.writer.leave(member)
                self._node.rooms.release(join.room)
            if self.writer.place(member, *before, self._unavailable(join.room, error)):
                self._catch_up()
            return
        self._members[join.room] = member
        mine = self.writer.place(member, joined.epoch, joined.after, frame(joined))
        member.room.want_roster(member)
        member.room.combine()
        if mine:
            self._catch_up()

    def _catch_up(self) -> None:
        """Send the history on this thread; if the client does not take it all now, the catch-up thread goes on."""
        try:
            live = catch_up(self.writer, TURN)
        except LogError:
            live = False
        if not live:
            self._node.catchup.watch(self.writer)

    def _unavailable(self, room: str, error: LogError) -> bytes:
        return frame(Error("unavailable", str(error), room, retry_after=1.0))

    def _leave(self, leave: Leave) -> None:
        member = self._members.get(leave.room)
        if member is None:
            self._not_joined(leave.room, [None])
        else:
            self._tell_who(leave.room)
            self._part(member, grace=0.0)
            self.writer.answer(frame(Left(leave.room)))

    def _part(self, member: Member, grace: float) -> None:
        del self._members[member.room.name]
        self.writer.leave(member)
        member.room.leave(member, grace)
        self._node.rooms.release(member.room.name)

    def _who(self, who: Who) -> None:
        member = self._members.get(who.room)
        if member is None:
            self._not_joined(who.room, [None])
        else:
            member.room.want_roster(member, whole=True)
            self._whos.add(who.room)

    def _history(self, history: History) -> None:
        if history.room not in self._members:
            self._not_joined(history.room, [None])
            return
        if not self._questions.ask():
            text = f"at most {MAX_QUESTIONS} questions for a page may be open: wait for the answers"
            if self._questions.hopeless:
                raise _RefusedError("too_many_questions", text)
            self.writer.answer(frame(Error("too_many_questions", text, history.room, retry_after=PAUSE)))
            return
        try:
            self.writer.answer(read_page(self._node.log, history))
        except LogError as error:
            self.writer.answer(self._unavailable(history.room, error))

    def _ping(self, _: Ping) -> None:
        self.writer.answer(_PONG)

    def _pong(self, _: Pong) -> None:
        """Hearing it was all that it is for."""
