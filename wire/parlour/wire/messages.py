"""What client and node say to each other over TCP: one frozen class per message, both ways.

This module owns the fields of each message and their checks; instances are immutable and cross threads freely.
It must never learn how a message is framed or carried: that is `wire.codec`'s.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

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
    check_room,
    check_text,
)
from parlour.wire.records import GONE, GONE_TEXT, MAX_KIND, check_data

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
"""Offsets and ids stay exact in languages whose only number is a double."""

MAX_KEY = 128
"""Longest key of a session, in characters."""

_Kind = Annotated[str, Meta(max_length=MAX_KIND)]


def _check_count(what: str, number: int, least: int = 0) -> None:
    # A half, a truth value or another library's number would be encoded as such, or not at all.
    if type(number) is not int or not least <= number <= MAX_OFFSET:
        raise UsageError(f"{what} is a whole number from {least} to {MAX_OFFSET}, not {number!r}")


class _Wire(Struct, frozen=True, tag_field="type", omit_defaults=True, gc=False):
    """The root of all messages: a MessagePack map whose `type` names the class; unknown fields are ignored."""


class _InRoom(_Wire, frozen=True, gc=False):
    """A message about one room, whose name is checked and brought to NFC."""

    room: str

    def __post_init__(self) -> None:
        room = check_room(self.room)
        if room != self.room:
            force_setattr(self, "room", room)


# --- client to node -------------------------------------------------------------------------------------------


class Hello(_Wire, frozen=True, tag="hello"):
    """The client's first message: who it is, and the ticket that the broker gave it for this node, if it asked one.

    `key` is a secret of the client's own choice, at most 128 characters: its hash names the session, so that a
    client that shows it again, to whichever node, goes on with its session. Without one the session is a new one.

    An `observer` hears everything and is seen by nobody; it may not post. A `bot` is a program, and shown as that.
    """

    name: str
    ticket: str = ""
    protocol: str = ""
    key: str = ""
    observer: bool = False
    bot: bool = False

    def __post_init__(self) -> None:
        force_setattr(self, "name", check_name(self.name))
        if len(self.key) > MAX_KEY:
            raise UsageError(f"a key has at most {MAX_KEY} characters, this one has {len(self.key)}")


class Join(_InRoom, frozen=True, tag="join"):
    """Enter a room and be sent what follows a position.

    Either the last `history` messages come first, or, with `after`, all that follows that offset (of that `epoch`,
    if given). `id`, that of the message at `after`, keeps the place valid in a later epoch whose log has this very
    message there; where there is no such place, the last `history` messages come. Joining a room one is in moves
    one's position in it.
    """

    history: int = 0
    after: int | None = None
    epoch: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        _InRoom.__post_init__(self)
        _check_count("history", self.history)
        if self.after is not None:
            _check_count("after", self.after)


class Leave(_InRoom, frozen=True, tag="leave"):
    """Leave a room; answered by `left`."""


class Say(_InRoom, frozen=True, tag="say"):
    """Post a record. `id` counts up within the session; the same id sent again is logged once.

    `kind` is what the text is (see `wire.records`), `ref` the offset of the record that it answers, edits, deletes or
    reacts to (0: none), `data` a map of at most 4 KiB for the kind's own fields.
    """

    id: int
    text: str
    kind: _Kind = ""
    ref: Count = 0
    data: dict[str, Any] = {}

    def __post_init__(self) -> None:
        # Posts come in masses: what is plainly right is seen here, a call for each field would take twice as long.
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
    """Ask who is in a room; answered by one or more `members`."""


class History(_InRoom, frozen=True, tag="history"):
    """Ask for old messages of a room one is in: the last ones before an offset, at most `limit`; answered by `page`."""

    before: int = MAX_OFFSET
    limit: int = 100

    def __post_init__(self) -> None:
        _InRoom.__post_init__(self)
        _check_count("before", self.before, least=1)
        _check_count("limit", self.limit, least=1)


class Enter(_Wire, frozen=True, tag="enter"):
    """Ask the node to ask its broker where this client should go; answered by `entry`. It may come before `hello`.

    `name` is the name that `hello` will have; after `hello` it may be left out.
    """

    name: str | None = None
    room: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            force_setattr(self, "name", check_name(self.name))
        if self.room is not None:
            force_setattr(self, "room", check_room(self.room))


# --- both ways ------------------------------------------------------------------------------------------------


class Ping(_Wire, frozen=True, tag="ping"):
    """Are you there? Answered by `pong`."""


class Pong(_Wire, frozen=True, tag="pong"):
    """Yes."""


class Bye(_Wire, frozen=True, tag="bye"):
    """The sender is about to close the connection, and why."""

    reason: str = ""


# --- node to client -------------------------------------------------------------------------------------------


class Welcome(_Wire, frozen=True, tag="welcome", omit_defaults=False):
    """The answer to `hello`: the node's name and the session that the client's posts are counted in."""

    # Nothing is omitted here: a version left out would be read as the reader's own.

    node: str
    session: str
    protocol: str = PROTOCOL


class Joined(_InRoom, frozen=True, tag="joined"):
    """The answer to `join`: where the room stands. Messages up to `offset` are replayed ones, those above are new.

    Messages follow from `after` + 1. `recovered` is false if the asked-for position is not in this log, or what
    followed it is not kept any more: what a newcomer is sent follows, or all that is kept. Sent unasked, it says that
    so it became; with `recovered`, that the position goes on in this epoch. `id` is that of the message at `after`, if
    `after` is `offset` and that message is kept.
    """

    epoch: str
    offset: Count
    after: Count
    recovered: bool = True
    id: str = ""


class Left(_InRoom, frozen=True, tag="left"):
    """The answer to `leave`; nothing of the room follows."""


class Message(_Wire, frozen=True, tag="message"):
    """One record of the room log. `id` is `SESSION-N` of its sender, `at` milliseconds since the Unix epoch.

    `kind`, `ref` and `data` are those of the post; `account` is the sender's, by the node. Whatever the kind, `text`
    can be shown as a line by itself.
    """

    # Not checked: it was when it was said, and to do so again would take longer than to encode it. `at` may come
    # from an old log: who shows it makes it sane.
    room: str
    offset: Place
    id: str
    by: str
    at: int
    text: str
    kind: _Kind = ""
    ref: Count = 0
    account: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    data: dict[str, Any] = {}


def erased(message: Message) -> Message:
    """Return what is left of a message whose text was deleted."""
    return Message(
        message.room, message.offset, message.id, message.by, message.at, GONE_TEXT, GONE, account=message.account
    )


class Page(_InRoom, frozen=True, tag="page"):
    """The answer to `history`: the messages after `after` and before the `before` that was asked with.

    They may be fewer than were asked for: the answer is one frame. Up to `trimmed` nothing is kept.
    """

    epoch: str
    before: Count
    after: Count
    trimmed: Count
    messages: list[Message]


class Accepted(_InRoom, frozen=True, tag="accepted"):
    """Where a post stands whose own message does not come (again): it was logged before, or its sender has left."""

    id: Place
    offset: Place
    at: int


class Members(_InRoom, frozen=True, tag="members"):
    """Who is in a room: distinct names, sorted, at most 200 a frame; with `more`, the next frame goes on.

    `count` is the number of all distinct names in the room, which may be more than are listed after a `join`. `bots`
    are the places in `names`, from 0, of those that are programs.
    """

    names: list[str]
    count: Count
    more: bool = False
    bots: list[Count] = []


class Presence(_InRoom, frozen=True, tag="presence"):
    """Names that came to or went from a room since the last such frame, and how many are there now.

    `bots` are the places in `joined`, from 0, of those that are programs.
    """

    joined: list[str]
    left: list[str]
    count: Count
    bots: list[Count] = []


class Lagging(_Wire, frozen=True, tag="lagging"):
    """The client reads slower than its rooms talk; it will get everything, late."""


class Error(_Wire, frozen=True, tag="error"):
    """Something asked for was not done. With `fatal` the node closes the connection after it.

    `retry_after` (seconds), where given, says that the same request may succeed later.
    """

    code: str
    text: str
    room: str | None = None
    id: Count | None = None
    retry_after: Seconds | None = None
    fatal: bool = False


class Move(_Wire, frozen=True, tag="move"):
    """Please go on at another node: connect there with this ticket, join your rooms, then close this connection."""

    node: str
    address: str
    ticket: str


class Entry(_Wire, frozen=True, tag="entry"):
    """The answer to `enter`: where the broker sends this client, perhaps here; the ticket is good `expires_in` s."""

    node: str
    address: str
    ticket: str
    expires_in: Seconds


ClientMessage = Hello | Enter | Join | Leave | Say | Who | History | Ping | Pong | Bye
"""What a client may send."""

NodeMessage = (
    Welcome
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
"""What a node may send."""
