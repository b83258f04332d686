"""What one client may do: its hello, its rooms, its posts.

This module owns who is behind a connection and what it may ask; it runs on the client's own thread. It must never
learn of bytes or sockets: it takes messages, and answers through the connection's writer.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from parlour.node.clients.catchup import TURN, catch_up
from parlour.node.clients.context import ClientContext, RefusedClientError
from parlour.node.clients.writer import ClientMember, ConnectionWriter
from parlour.node.log import LogError, Post, RichPost
from parlour.node.rooms.history import PAUSE, QuestionLimit, read_page
from parlour.node.rooms.member import Member
from parlour.node.rooms.postqueue import Submission
from parlour.node.rooms.room import Room
from parlour.runtime.broker_rpc import RefusedError, ask
from parlour.wire.codec import frame
from parlour.wire.control import Assign, Assigned
from parlour.wire.errors import ParlourError, UsageError
from parlour.wire.limits import MAX_QUESTIONS, PROTOCOL, WINDOW, check_protocol, minor_version
from parlour.wire.messages import (
    Bye,
    ClientMessage,
    Enter,
    Entry,
    Error,
    Hello,
    History,
    Join,
    Leave,
    Left,
    NodeMessage,
    Ping,
    Pong,
    Say,
    Welcome,
    Who,
)
from parlour.wire.records import UTTERANCES, post_fault, reference_fault

__all__ = ["Session", "session_of"]

_PONG = frame(Pong())

SETTLING = 1.0
"""Seconds that posts may take, at most, to be logged and shown to a client that has just said bye."""

DIRECTIONS = 1.0
"""Seconds between two questions of a client where it should enter: each is a question to a broker."""

ASKING = 1.0
"""Seconds that the brokers have to answer it."""


def session_of(key: str) -> str:
    """Return the name of the session that a key is the secret of: everybody may see it, and nobody can claim it."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:16]


class _Membership(NamedTuple):
    room: Room
    member: ClientMember


class Session:
    """One client, from its hello to its leaving."""

    def __init__(self, context: ClientContext, writer: ConnectionWriter) -> None:
        self._context = context
        self._settings = context.settings
        self._members: dict[str, _Membership] = {}
        self.name = ""
        self._modern = False  # whether it speaks protocol 1.1 or a later minor
        self.id = ""
        self._observer = self._bot = False
        self.since = time.monotonic()
        self.leaves_by = 0.0  # until then, in monotonic seconds, it may follow the last request to move
        self._said_bye = False
        self._questions = QuestionLimit()
        self._posted: set[str] = set()  # rooms posted to in what was read last
        self._directed = float("-inf")  # when the client last asked where to enter, in monotonic seconds
        self._whos: set[str] = set()  # rooms of which the client asked who is there, in what was read last
        self._highest = 0  # of the ids of posts
        self.writer = writer
        self._handlers: dict[type, Callable[..., None]] = {
            Error: self.answer,
            Hello: self._hello_again,
            Enter: self.direct,
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

    @property
    def over(self) -> bool:
        """Whether the client has said bye, or cannot be answered any more."""
        return self._said_bye or self.writer.closed

    def welcome(self, hello: Hello) -> None:
        """Let the client in; raises ProtocolError if it may not come in."""
        try:
            check_protocol(hello.protocol)
        except UsageError as error:
            raise RefusedClientError("bad_version", str(error)) from None
        self._context.admission.admit(hello)
        self.name = hello.name
        self._modern = minor_version(hello.protocol) >= 1
        self._observer, self._bot = hello.observer, hello.bot
        self.id = session_of(hello.key or secrets.token_hex())
        self.answer(Welcome(self._context.node, self.id))

    def answer(self, message: NodeMessage) -> None:
        """Send the client a message, in its turn."""
        self.writer.answer(frame(message))

    def direct(self, enter: Enter) -> None:
        """Tell the client where its broker would send it now; it may ask once a second, also before its hello."""
        name, now = enter.name or self.name, time.monotonic()
        if not name:
            self.answer(Error("bad_request", "say with which name you want to enter", enter.room))
            return
        if now < self._directed + DIRECTIONS:
            text = f"where to enter may be asked every {DIRECTIONS:g} s"
            self.answer(Error("too_many_questions", text, enter.room, retry_after=DIRECTIONS))
            return
        self._directed = now
        try:
            broker, reply = ask(self._settings.brokers, Assign(name, enter.room, protocol=PROTOCOL), ASKING)
        except RefusedError as refused:
            self.answer(Error(refused.code, str(refused), enter.room, retry_after=refused.retry_after))
        except ParlourError as error:
            self.answer(Error("no_broker", str(error), enter.room, retry_after=DIRECTIONS))
        else:
            if isinstance(reply, Assigned):
                self.answer(Entry(reply.node, reply.address, reply.ticket, reply.expires_in))
            else:
                self.answer(Error("no_broker", f"{broker} does not answer as a broker does", enter.room))

    def end(self) -> None:
        """Leave all rooms, when what was posted last is logged and the client has been told so."""
        for name in self._posted & self._members.keys():
            room, member = self._members[name]
            room.settle(member, SETTLING)
        # A client that says bye leaves. One that was cut off may come back, to this node or another; and one that was
        # asked to move is there already, which the other nodes may not have heard yet.
        grace = 0.0 if self._said_bye and not self.moving else self._settings.grace
        for membership in list(self._members.values()):
            self._part(membership, grace)

    # --- what the client asks ---------------------------------------------------------------------------------

    def handle(self, said: list[ClientMessage | Error], size: int) -> None:
        """Do what was asked, in order; posts that stand together are handed to their rooms together."""
        share = size // max(1, len(said))  # of the bytes read, for each message
        self._questions.restart()
        self._posted.clear()
        posts: dict[str, list[Say]] = {}
        for message in said:
            if type(message) is Say:
                posts.setdefault(message.room, []).append(message)
                continue
            self._post(posts, share)
            posts = {}
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
            membership = self._members.get(name)
            if membership is None:
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
            # What is plainly said comes in masses: it costs no call.
            made = [
                self._judge(membership.room, say, at)
                if say.kind or say.ref or say.data
                else Post(self.id, say.id, self.name, at, say.text)
                for say in says
            ]
            posts = [post for post in made if post]
            self._posted.add(name)
            membership.room.submit(Submission(membership.member, posts, size * len(posts), now))

    def _judge(self, room: Room, say: Say, at: int) -> Post | None:
        """Return the post that may be logged; else tell the client why it may not, and return None."""
        fault, code, again = post_fault(say.kind, say.ref, say.text), "bad_kind", None
        if not fault and say.kind not in UTTERANCES:
            try:
                fault, code = self._reference_fault(room, say), "bad_ref"
            except LogError as error:
                fault, code, again = str(error), "unavailable", 1.0
        if not fault:
            return RichPost(self.id, say.id, self.name, at, say.text, say.kind, say.ref, "", say.data)
        self.answer(Error(code, fault, room.name, say.id, again))
        return None

    def _reference_fault(self, room: Room, say: Say) -> str:
        """Return why a post may not refer to the record that it names, or nothing; raises LogError."""
        target = room.message(say.ref)
        mine = target is not None and target.id.rpartition("-")[0] == self.id
        fault = reference_fault(say.kind, target.kind if target is not None else None, mine)
        return fault and f"record {say.ref} {fault}"

    def _without_stale(self, room: str, says: list[Say]) -> list[Say]:
        """Refuse the posts whose ids are far below the highest: they would be looked for in all that was logged."""
        self._highest = max(self._highest, *(say.id for say in says))
        least = self._highest - WINDOW
        for say in says:
            if say.id <= least:
                text = f"the id {say.id} is {WINDOW} or more below one that was used before: count up"
                self.answer(Error("stale_id", text, room, say.id))
        return [say for say in says if say.id > least]

    def _not_joined(self, room: str, ids: Sequence[int | None]) -> None:
        self._refuse(room, ids, "not_joined", f"join {room} before")

    def _refuse(self, room: str, ids: Sequence[int | None], code: str, text: str) -> None:
        for number in ids:
            self.answer(Error(code, text, room, number))

    def _join(self, join: Join) -> None:
        known = self._members.get(join.room)
        if known is None and len(self._members) >= self._settings.rooms_per_client:
            text = f"a client may be in {self._settings.rooms_per_client} rooms at once: leave one"
            self.answer(Error("too_many_rooms", text, join.room))
            return
        try:
            room, member = known or self._enter(join.room)
        except LogError as error:
            self.writer.answer(self._unavailable(join.room, error))
            return
        before = self.writer.hold(member)
        try:
            joined = room.enter(member, join)
        except LogError as error:
            if known is None:
                self.writer.leave(member)
                self._context.rooms.release(join.room)
            if self.writer.place(member, *before, self._unavailable(join.room, error)):
                self._catch_up()
            return
        self._members[join.room] = _Membership(room, member)
        mine = self.writer.place(member, joined.epoch, joined.after, frame(joined))
        room.want_roster(member)
        room.combine()
        if mine:
            self._catch_up()

    def _enter(self, name: str) -> _Membership:
        """Return a new membership, whose member is nowhere yet; raises LogError if the room cannot be opened."""
        room = self._context.rooms.hold(name)
        member = Member(self.writer, room, self.id, self.name, self._modern, self._observer, self._bot)
        self.writer.enter(member)
        return _Membership(room, member)

    def _catch_up(self) -> None:
        """Send the history on this thread; if the client does not take it all now, the catch-up thread goes on."""
        try:
            live = catch_up(self.writer, TURN)
        except LogError:
            live = False
        if not live:
            self._context.catchup.watch(self.writer)

    def _unavailable(self, room: str, error: LogError) -> bytes:
        return frame(Error("unavailable", str(error), room, retry_after=1.0))

    def _leave(self, leave: Leave) -> None:
        membership = self._members.get(leave.room)
        if membership is None:
            self._not_joined(leave.room, [None])
        else:
            self._tell_who(leave.room)
            self._part(membership, grace=0.0)
            self.answer(Left(leave.room))

    def _part(self, membership: _Membership, grace: float) -> None:
        room, member = membership
        del self._members[room.name]
        self.writer.leave(member)
        room.leave(member, grace)
        self._context.rooms.release(room.name)

    def _who(self, who: Who) -> None:
        membership = self._members.get(who.room)
        if membership is None:
            self._not_joined(who.room, [None])
        else:
            membership.room.want_roster(membership.member, whole=True)
            self._whos.add(who.room)

    def _history(self, history: History) -> None:
        if history.room not in self._members:
            self._not_joined(history.room, [None])
            return
        if not self._questions.allow():
            text = f"at most {MAX_QUESTIONS} questions for a page may be open: wait for the answers"
            if self._questions.exceeded:
                raise RefusedClientError("too_many_questions", text)
            self.answer(Error("too_many_questions", text, history.room, retry_after=PAUSE))
            return
        try:
            self.writer.answer(read_page(self._context.log, history))
        except LogError as error:
            self.writer.answer(self._unavailable(history.room, error))

    def _hello_again(self, _: Hello) -> None:
        self.answer(Error("again", "hello was said already"))

    def _ping(self, _: Ping) -> None:
        self.writer.answer(_PONG)

    def _pong(self, _: Pong) -> None:
        """Hearing it was all that it is for."""
