"""One client's session: its hello, its rooms, its posts, and the checks of what it may do.

This module owns who is behind a connection and what the client may ask; it runs on the client's own thread, but the
thread that moves clients writes `leaves_by`. It must never deal with bytes or sockets: it takes messages, and answers
through the connection's writer.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from parlour.node.clients.asks import answer_ask
from parlour.node.clients.authentication import Authentication, session_of
from parlour.node.clients.catchup import BATCHES_PER_TURN, catch_up
from parlour.node.clients.context import ClientContext
from parlour.node.clients.entries import Entries
from parlour.node.clients.keptrooms import KeptRooms
from parlour.node.clients.posts import PostDesk
from parlour.node.clients.questions import PAUSE, QuestionLimit
from parlour.node.clients.writer import ClientMember, ConnectionWriter
from parlour.node.log import LogError
from parlour.node.people.refusal import RefusedClientError
from parlour.node.rooms.history import read_page
from parlour.node.rooms.judgement import RefusedJoinError
from parlour.node.rooms.member import Member
from parlour.node.rooms.postqueue import Submission
from parlour.node.rooms.room import Room
from parlour.wire.asks import Ask, News
from parlour.wire.codec import frame
from parlour.wire.direct import account_identity, guest_identity
from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_QUESTIONS, check_protocol, minor_version
from parlour.wire.messages import (
    Bye,
    ClientMessage,
    Enter,
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
from parlour.wire.people import Person
from parlour.wire.signin import Auth

__all__ = ["Session"]

_PONG = frame(Pong())

SETTLE_TIMEOUT = 1.0
"""Seconds, at most, to log the last posts of a client that has said bye, and to send it their messages."""


class _Membership(NamedTuple):
    room: Room
    member: ClientMember


class Session:
    """One client, from its hello to its leaving."""

    def __init__(self, context: ClientContext, writer: ConnectionWriter, address: str = "") -> None:
        """Serve the client at this IP address."""
        self._context = context
        self._settings = context.settings
        self._members: dict[str, _Membership] = {}
        self._authentication = Authentication(context.people, address)
        self.person = Person("")  # until the hello
        self.ticket_name = ""  # the name that the client's next hello will have, and so a ticket for it
        self._minor = 0  # the minor version of the client's protocol
        self.id = ""
        self.observer = self._bot = False
        self._kept = False  # whether the client can come back to this session: it has shown a key
        self.since = time.monotonic()
        self.leaves_by = 0.0  # until then, in monotonic seconds, the client may follow the last request to move
        self._said_bye = False
        self.cut_off = False  # whether the node has ended the session for good; written by the thread that does it
        self._questions = QuestionLimit()
        self._posted_rooms: set[str] = set()  # rooms that the messages read last posted to
        self._entries = Entries(context)
        self._lists_asked: set[str] = set()  # rooms whose names the messages read last asked for
        self._posts = PostDesk(self.answer, context.people.directory)
        self._kept_rooms = KeptRooms(self)
        self.writer = writer
        self._handlers: dict[type, Callable[..., None]] = {
            Error: self.answer,
            Hello: self._hello_again,
            Enter: self.answer_enter,
            Join: self._join,
            Leave: self._leave,
            Who: self._who,
            History: self._history,
            Auth: self._auth_again,
            Ask: self._ask,
            Ping: self._ping,
            Pong: self._pong,
        }

    @property
    def context(self) -> ClientContext:
        """The parts of the node, for what the client asks."""
        return self._context

    @property
    def name(self) -> str:
        """The client's name; empty before its hello."""
        return self.person.name

    @property
    def identity(self) -> str:
        """The identity of the person in private conversations, see `wire.direct`."""
        account = self.person.account
        return account_identity(account) if account else guest_identity(self.id)

    @property
    def rooms(self) -> list[Room]:
        """The rooms that the client is in."""
        return [room for room, member in self._members.values() if not member.left]

    def room(self, name: str) -> Room | None:
        """Return a room that the client is in, else None."""
        membership = self._members.get(name)
        return None if membership is None or membership.member.left else membership.room

    @property
    def moving(self) -> bool:
        """Whether the node has asked the client to move, and the client may still do so."""
        return time.monotonic() < self.leaves_by

    @property
    def over(self) -> bool:
        """Whether the client has said bye, or the connection is closed."""
        return self._said_bye or self.writer.closed

    def welcome(self, hello: Hello) -> None:
        """Admit and welcome the client; raises ProtocolError if it may not come in."""
        try:
            check_protocol(hello.protocol)
        except UsageError as error:
            raise RefusedClientError("bad_version", str(error)) from None
        self._context.admission.admit(hello)
        session = session_of(hello.key or secrets.token_hex())
        self.person = self._authentication.enter(hello, session)
        self._minor = minor_version(hello.protocol)
        self.ticket_name = hello.name
        self._kept = bool(hello.key)
        self.observer, self._bot = hello.observer, hello.bot
        self.id = session
        self._context.news.enter(self.identity, self)
        self.answer(Welcome(self._context.node, self.id, name=self.name, account=self.person.account))

    def authenticate(self, auth: Auth) -> None:
        """Answer a step of a sign-in before the hello; raises RefusedClientError after too many refusals."""
        self.answer(self._authentication.step(auth))

    def become(self, person: Person) -> None:
        """Show the client as this person from now on, in all its rooms."""
        self._context.news.leave(self.identity, self)
        self.ticket_name = person.name
        self._show_as(person)
        self._context.news.enter(self.identity, self)
        for name, membership in self._members.items():
            self._kept_rooms.joined(name, membership.room.offset)

    def _show_as(self, person: Person) -> None:
        self.person = person
        for room, member in list(self._members.values()):
            member.person = person
            room.show(member)

    def answer(self, message: NodeMessage) -> None:
        """Send the client a message, after those that wait already."""
        self.writer.answer(frame(message))

    def tell(self, news: News, frames: bytes) -> None:
        """Send the client news, if it speaks protocol 1.3 or later; any thread may call this."""
        if news.what == "display":
            self._show_as(replace(self.person, display=str(news.data.get("display", ""))))
        if self._minor >= 3:
            self.writer.answer(frames)

    def answer_enter(self, enter: Enter) -> None:
        """Answer where the broker would send the client now, also before its hello."""
        self.answer(self._entries.answer(enter, enter.name or self.name))

    def end(self) -> None:
        """Leave all rooms, after the last posts are logged and answered."""
        self._context.news.leave(self.identity, self)
        for name in self._posted_rooms & self._members.keys():
            room, member = self._members[name]
            room.settle(member, SETTLE_TIMEOUT)
        # A client that says bye leaves. A client that was cut off may come back, to this node or another. A client that
        # was asked to move is on its new node already, but the other nodes may not have heard that yet.
        gone = self.cut_off or (self._said_bye and not self.moving)
        grace = 0.0 if gone else self._settings.grace
        for membership in list(self._members.values()):
            self._leave_room(membership, grace)
        if not (self.person.account or self.observer):
            self._context.people.leases.leave(self.name, self.id, grace if self._kept else 0.0)

    # --- requests of the client -------------------------------------------------------------------------------

    def handle(self, messages: list[ClientMessage | Error], size: int) -> None:
        """Handle messages in order; consecutive posts go to their rooms together. `size` is in bytes."""
        if self.writer.shown_out:
            self._drop_shown_out()
        share = size // max(1, len(messages))  # the bytes read, per message
        self._questions.restart()
        self._posted_rooms.clear()
        posts: dict[str, list[Say]] = {}
        for message in messages:
            if type(message) is Say:
                posts.setdefault(message.room, []).append(message)
                continue
            self._post(posts, share)
            posts = {}
            if isinstance(message, Bye):
                self._said_bye = True
                return
            # The client does not read answers any more, but its posts still count.
            if not self.writer.closed:
                self._handlers[type(message)](message)
        self._post(posts, share)
        if self._lists_asked:
            for name in list(self._lists_asked):
                self._send_list(name)

    def _send_list(self, name: str) -> None:
        """Have the list of names sent once, even if the client asked for it several times."""
        if name in self._lists_asked:
            self._lists_asked.remove(name)
            self._members[name].room.combine()

    def _post(self, posts_by_room: dict[str, list[Say]], size: int) -> None:
        now, at = time.monotonic(), time.time_ns() // 1_000_000
        for name, says in posts_by_room.items():
            membership = self._members.get(name)
            if membership is None:
                self._not_joined(name, [say.id for say in says])
                continue
            if self.observer:
                ids: list[int | None] = [say.id for say in says]
                self._refuse(name, ids, "observer", "an observer cannot post: connect without `observer` to post")
                continue
            posts = self._posts.take(membership.room, says, self.id, self.person, at)
            self._posted_rooms.add(name)
            membership.room.submit(Submission(membership.member, posts, size * len(posts), now))

    def _not_joined(self, room: str, ids: Sequence[int | None]) -> None:
        self._refuse(room, ids, "not_joined", f"you are not in {room}: join it first")

    def _refuse(self, room: str, ids: Sequence[int | None], code: str, text: str) -> None:
        for number in ids:
            self.answer(Error(code, text, room, number))

    def _join(self, join: Join) -> None:
        try:
            self._kept_rooms.check_join(join.room)
        except RefusedJoinError as error:
            self.answer(Error(error.code, str(error), join.room, retry_after=error.retry_after))
            return
        known = self._members.get(join.room)
        if known is not None and known.member.left:
            self._drop_shown_out()
            known = None
        if known is None and len(self._members) >= self._settings.rooms_per_client:
            text = f"a client may be in {self._settings.rooms_per_client} rooms at once: leave one"
            self.answer(Error("too_many_rooms", text, join.room))
            return
        try:
            room, member = known or self._enter(join.room)
        except LogError as error:
            self.writer.answer(self._room_error(join.room, error))
            return
        before = self.writer.hold(member)
        try:
            joined = room.enter(member, join)
        except (LogError, RefusedJoinError) as error:
            notice = self._room_error(join.room, error)
            if known is None:
                self.writer.leave(member)
                self._context.rooms.release(join.room)
                self.writer.answer(notice)
            elif self.writer.release(member, *before, notice):
                self._catch_up()
            return
        self._members[join.room] = _Membership(room, member)
        mine = self.writer.release(member, joined.epoch, joined.after, frame(joined))
        room.want_roster(member)
        room.found(member)
        self._kept_rooms.joined(join.room, joined.offset)
        if member.person is not self.person:  # it has changed meanwhile, by another device
            member.person = self.person
            room.show(member)
        room.combine()
        if mine:
            self._catch_up()

    def _enter(self, name: str) -> _Membership:
        """Return a new membership, without a position yet; raises LogError if the room cannot be opened."""
        room = self._context.rooms.hold(name)
        member = Member(self.writer, room, self.id, self.person, self._minor >= 1, self.observer, self._bot)
        self.writer.enter(member)
        return _Membership(room, member)

    def _catch_up(self) -> None:
        """Send the history on this thread; if the client does not take it all now, the catch-up thread continues."""
        try:
            live = catch_up(self.writer, BATCHES_PER_TURN)
        except LogError:
            live = False
        if not live:
            self._context.catchup.watch(self.writer)

    def _room_error(self, room: str, error: LogError | RefusedJoinError) -> bytes:
        if isinstance(error, RefusedJoinError):
            return frame(Error(error.code, str(error), room))
        return frame(Error("unavailable", str(error), room, retry_after=1.0))

    def _leave(self, leave: Leave) -> None:
        membership = self._members.get(leave.room)
        if membership is None:
            self._not_joined(leave.room, [None])
        else:
            if leave.room in self._lists_asked:
                # Another thread may be the combiner now, and would find nobody to send the list to.
                self._lists_asked.remove(leave.room)
                membership.room.settle(membership.member, SETTLE_TIMEOUT)
            self._leave_room(membership, grace=0.0)
            self._kept_rooms.left(leave.room)
            self.answer(Left(leave.room))

    def _leave_room(self, membership: _Membership, grace: float) -> None:
        room, member = membership
        del self._members[room.name]
        self.writer.leave(member)
        room.leave(member, grace)
        self._context.rooms.release(room.name)

    def _drop_shown_out(self) -> None:
        """Give up the rooms that have shown the client out; it has been told."""
        self.writer.shown_out = False
        for name, (_, member) in list(self._members.items()):
            if member.left:
                del self._members[name]
                self._context.rooms.release(name)

    def _who(self, who: Who) -> None:
        membership = self._members.get(who.room)
        if membership is None:
            self._not_joined(who.room, [None])
        else:
            membership.room.want_roster(membership.member, whole=True)
            self._lists_asked.add(who.room)

    def _history(self, history: History) -> None:
        if history.room not in self._members:
            self._not_joined(history.room, [None])
            return
        if not self._questions.allow():
            text = f"at most {MAX_QUESTIONS} history requests may be open: wait for the answers"
            if self._questions.exceeded:
                raise RefusedClientError("too_many_questions", text)
            self.answer(Error("too_many_questions", text, history.room, retry_after=PAUSE))
            return
        try:
            self.writer.answer(read_page(self._context.log, history))
        except LogError as error:
            self.writer.answer(self._room_error(history.room, error))

    def _hello_again(self, _: Hello) -> None:
        self.answer(Error("again", "hello was said before: say it once"))

    def _auth_again(self, _: Auth) -> None:
        self.answer(Error("again", "auth comes before hello: connect again to sign in"))

    def _ask(self, ask: Ask) -> None:
        answer_ask(self, ask)

    def _ping(self, _: Ping) -> None:
        self.writer.answer(_PONG)

    def _pong(self, _: Pong) -> None:
        """Do nothing: the connection has noted that it heard the client."""
