"""The messages between client and node over TCP, both ways: one frozen class for each.

This module owns the fields of each message and their checks; instances are immutable, and any thread may use them. It
must never depend on how a message is framed or carried: `wire.codec` does the framing.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import force_setattr

from parlour.wire.asks import Answer, Ask, News
from parlour.wire.errors import UsageError
from parlour.wire.limits import (
    MAX_COUNT,
    MAX_NAME,
    MAX_TEXT,
    PROTOCOL,
    Count,
    Place,
    Seconds,
    check_name,
    check_public_room,
    check_room,
    check_text,
)
from parlour.wire.records import GONE, GONE_TEXT, check_data
from parlour.wire.root import Kind, Secret, WireMessage
from parlour.wire.signin import Auth, Challenge

__all__ = [
    "MAX_KEY",
    "MAX_OFFSET",
    "Accepted",
    "Bye",
    "ClientMessage",
    "Enter",
    "Entry",
    "Error",
    "Hello",
    "History",
    "Join",
    "Joined",
    "Lagging",
    "Leave",
    "Left",
    "Members",
    "Message",
    "Move",
    "NodeMessage",
    "Page",
    "Ping",
    "Pong",
    "Presence",
    "Say",
    "Welcome",
    "Who",
    "erased",
]

MAX_OFFSET = MAX_COUNT
"""Largest offset or id: it stays exact in languages whose only number is a double."""

MAX_KEY = 128
"""Longest key of a session, in characters."""


def _check_count(what: str, number: int, least: int = 0) -> None:
    # A fraction, a bool or another library's number would be encoded as such, or not at all.
    if type(number) is not int or not least <= number <= MAX_OFFSET:
        raise UsageError(f"{what} is a whole number from {least} to {MAX_OFFSET}, not {number!r}")


class _InRoom(WireMessage, frozen=True, gc=False):
    """A message about one room, whose name is checked and brought to NFC."""

    room: str

    def __post_init__(self) -> None:
        room = check_room(self.room)
        if room != self.room:
            force_setattr(self, "room", room)


# --- client to node -------------------------------------------------------------------------------------------


class Hello(WireMessage, frozen=True, tag="hello"):
    """The client's first message: its name, and the ticket from the broker for this node, if it asked a broker.

    `key` is a secret that the client chooses, at most 128 characters. Its hash names the session, so a client that
    sends the same key again, to any node, continues its session. Without a key the session is new.

    An `observer` receives everything, is not shown to others and may not post. A `bot` is a program, and shown as one.

    A client signs in to the account `name` by one of `password`, `token` (a device token) and `jwt`, or by `auth`
    before the hello; without any it is a guest. With an `invitation`, `password` is that of a new account.
    """

    name: str
    ticket: str = ""
    protocol: str = ""
    key: str = ""
    observer: bool = False
    bot: bool = False
    password: Secret = ""
    token: Secret = ""
    jwt: Secret = ""
    invitation: Secret = ""

    def __post_init__(self) -> None:
        force_setattr(self, "name", check_name(self.name))
        if len(self.key) > MAX_KEY:
            raise UsageError(f"a key has at most {MAX_KEY} characters, this one has {len(self.key)}")


class Join(_InRoom, frozen=True, tag="join"):
    """Enters a room, or moves the client's position in it; the messages after the position follow.

    Without `after` the last `history` messages come first; with it, all messages after that offset (of that `epoch`, if
    given). `id` is the id of the message at `after`: it keeps the position valid in a later epoch whose log has the
    same message there. If the position is not valid, the last `history` messages come. `password` is that of the room.
    """

    history: int = 0
    after: int | None = None
    epoch: str | None = None
    id: str | None = None
    password: Secret = ""

    def __post_init__(self) -> None:
        _InRoom.__post_init__(self)
        _check_count("history", self.history)
        if self.after is not None:
            _check_count("after", self.after)


class Leave(_InRoom, frozen=True, tag="leave"):
    """Leaves a room. Answered by `left`."""


class Say(_InRoom, frozen=True, tag="say"):
    """Posts a record. `id` counts up within the session; a post that is sent again with its id is logged once.

    `kind` tells what the text is (see `wire.records`); `ref` is the offset of the record that the post answers, edits,
    deletes or reacts to (0: none); `data` is a map of at most 4 KiB for the kind's own fields.
    """

    id: int
    text: str
    kind: Kind = ""
    ref: Count = 0
    data: dict[str, Any] = {}

    def __post_init__(self) -> None:
        # Posts come in masses. Simple posts pass these inline checks; a call for each field would take twice as long.
        room = check_room(self.room)
        if room != self.room:
            force_setattr(self, "room", room)
        if not 0 < self.id <= MAX_OFFSET:
            _check_count("id", self.id, least=1)
        if len(self.text) > MAX_TEXT or not self.text.isascii():
            check_text(self.text)
        if self.data:
            check_data(self.data)


class Who(_InRoom, frozen=True, tag="who"):
    """Asks for the names in a room. Answered by one or more `members`."""


class History(_InRoom, frozen=True, tag="history"):
    """Asks for old messages of a room that the client is in: the last `limit` before an offset. Answered by `page`."""

    before: int = MAX_OFFSET
    limit: int = 100

    def __post_init__(self) -> None:
        _InRoom.__post_init__(self)
        _check_count("before", self.before, least=1)
        _check_count("limit", self.limit, least=1)


class Enter(WireMessage, frozen=True, tag="enter"):
    """Asks the node to ask its broker where this client should go. Answered by `entry`. It may come before `hello`.

    `name` is the name that `hello` will have; after `hello` it may be left out.
    """

    name: str | None = None
    room: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            force_setattr(self, "name", check_name(self.name))
        if self.room is not None:
            force_setattr(self, "room", check_public_room(self.room))


# --- both ways ------------------------------------------------------------------------------------------------


class Ping(WireMessage, frozen=True, tag="ping"):
    """Asks whether the other side is alive. Answered by `pong`."""


class Pong(WireMessage, frozen=True, tag="pong"):
    """The answer to `ping`."""


class Bye(WireMessage, frozen=True, tag="bye"):
    """Tells that the sender is about to close the connection, and why."""

    reason: str = ""


# --- node to client -------------------------------------------------------------------------------------------


class Welcome(WireMessage, frozen=True, tag="welcome", omit_defaults=False):
    """The answer to `hello`: the node's name, and the session in which the client's posts count.

    `name` is the client's name here, and `account` its account, which is empty for a guest.
    """

    # No default is omitted: a reader would take a missing version for its own.

    node: str
    session: str
    protocol: str = PROTOCOL
    name: str = ""
    account: str = ""


class Joined(_InRoom, frozen=True, tag="joined"):
    """The answer to `join`: the room's last offset. Messages up to `offset` are replayed; messages above are new.

    Messages follow from `after` + 1. `recovered` is false if the position that the client asked for is not in this log,
    or if messages after it are not kept any more: then a newcomer's messages follow, or all that are kept. The node
    also sends `joined` unasked when that happens later, or, with `recovered`, when the position continues in this
    epoch. `id` is the id of the message at `after`, if `after` is `offset` and the message is kept.
    """

    epoch: str
    offset: Count
    after: Count
    recovered: bool = True
    id: str = ""


class Left(_InRoom, frozen=True, tag="left"):
    """The answer to `leave`; no more messages of the room follow."""


class Message(WireMessage, frozen=True, tag="message"):
    """One record of the room log. `id` is `SESSION-N` of its sender, `at` milliseconds since the Unix epoch.

    `kind`, `ref` and `data` are those of the post; the node sets `account`, the sender's account. For every kind,
    `text` can be shown as a line by itself.
    """

    # The fields were checked when the message was posted; a second check would take longer than the encoding. `at` may
    # come from an old log: code that shows it must call `sane_time`.
    room: str
    offset: Place
    id: str
    by: str
    at: int
    text: str
    kind: Kind = ""
    ref: Count = 0
    account: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    data: dict[str, Any] = {}


def erased(message: Message) -> Message:
    """Return the message without its deleted text."""
    return Message(
        message.room, message.offset, message.id, message.by, message.at, GONE_TEXT, GONE, account=message.account
    )


class Page(_InRoom, frozen=True, tag="page"):
    """The answer to `history`: the messages after `after` and before the `before` of the request.

    They may be fewer than the client asked for, because the answer is one frame. Nothing up to `trimmed` is kept.
    """

    epoch: str
    before: Count
    after: Count
    trimmed: Count
    messages: list[Message]


class Accepted(_InRoom, frozen=True, tag="accepted"):
    """The offset of a post whose message the sender does not receive: it was logged before, or its sender has left."""

    id: Place
    offset: Place
    at: int


class Members(_InRoom, frozen=True, tag="members"):
    """The names in a room: distinct, sorted, at most 200 in a frame; with `more`, the next frame continues the list.

    `count` is the number of all distinct names in the room; after a `join` the list may be shorter. `bots` are the
    places in `names`, from 0, of the names of programs, and `accounts` those of the names that are accounts.
    `displays` are the display names of accounts that have one, by their names.
    """

    names: list[str]
    count: Count
    more: bool = False
    bots: list[Count] = []
    accounts: list[Count] = []
    displays: dict[str, str] = {}


class Presence(_InRoom, frozen=True, tag="presence"):
    """The names that came to a room or left it since the last such frame, and the number of names there now.

    `bots`, `accounts` and `displays` are as in `members`, for the names in `joined`. A name that was there before is in
    `joined` again if it has become an account, or if its display name has changed.
    """

    joined: list[str]
    left: list[str]
    count: Count
    bots: list[Count] = []
    accounts: list[Count] = []
    displays: dict[str, str] = {}


class Lagging(WireMessage, frozen=True, tag="lagging"):
    """Tells that the client reads too slowly: it will get everything, but late."""


class Error(WireMessage, frozen=True, tag="error"):
    """Tells that the node did not do what the client asked. With `fatal` it closes the connection after it.

    If `retry_after` (seconds) is given, the same request may succeed later. `id` is that of the post that failed, and
    `ask` that of the `ask`. `name` is a free name that is like the one that the client wanted.
    """

    code: str
    text: str
    room: str | None = None
    id: Count | None = None
    retry_after: Seconds | None = None
    fatal: bool = False
    ask: Count | None = None
    name: str | None = None


class Move(WireMessage, frozen=True, tag="move"):
    """Asks the client to go to another node: connect there with the ticket, join the rooms, close this connection."""

    node: str
    address: str
    ticket: str


class Entry(WireMessage, frozen=True, tag="entry"):
    """The answer to `enter`: the node for this client, perhaps this one. The ticket is valid `expires_in` seconds."""

    node: str
    address: str
    ticket: str
    expires_in: Seconds


ClientMessage = Hello | Auth | Enter | Join | Leave | Say | Who | History | Ask | Ping | Pong | Bye
"""The messages of a client."""

NodeMessage = (
    Welcome
    | Challenge
    | Answer
    | News
    | Joined
    | Left
    | Message
    | Page
    | Accepted
    | Members
    | Presence
    | Lagging
    | Entry
    | Error
    | Move
    | Ping
    | Pong
    | Bye
)
"""The messages of a node."""
