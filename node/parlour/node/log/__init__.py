"""The room log: what was said, in the one order that everybody sees.

This package owns the contract that every engine keeps and the opening of an engine by URL; any thread may call an
engine. An engine must never give out an offset twice, nor report a post as logged before it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from parlour.wire.errors import UnavailableError
from parlour.wire.messages import Message

__all__ = ["AHEAD", "Appended", "Extent", "LogError", "Post", "RichPost", "RoomLog", "old_enough", "settled_time"]


AHEAD = 10_000
"""Messages that a trim looks at, at most, for one whose time is not ahead of the log's clock."""


class LogError(UnavailableError):
    """The room log cannot be opened, read or written now.

    Of the failed call nothing was logged; or, if a server did not answer in time, perhaps all: the same posts sent
    again tell which.
    """


class Post(Struct, frozen=True, array_like=True, gc=False):
    """What a client asks to say. `(session, id)` is logged once in a room; `at` is in ms since the Unix epoch."""

    session: str
    id: int
    by: str
    at: int
    text: str


class RichPost(Post, frozen=True, array_like=True, gc=False):
    """A post with a record's own fields (see `wire.records`). What is plainly said is a `Post`, which costs less.

    An engine may write both as they are, as arrays of two lengths, and read both as this class.
    """

    kind: str = ""
    ref: int = 0
    account: str = ""
    data: dict[str, Any] = {}


class Appended(Struct, frozen=True, gc=False):
    """Where a post stands in the log; for a duplicate, where and when it was first logged.

    A post that was refused, since the record that it refers to is deleted, is a duplicate at offset 0.
    """

    epoch: str
    offset: int
    at: int
    duplicate: bool


class Extent(NamedTuple):
    """What is kept of a room: the messages of `epoch` after `trimmed`, up to `top`; the two are equal if none is."""

    epoch: str
    trimmed: int
    top: int


def settled_time(at: int, before: int, now: int) -> int:
    """Return the time that is logged for a post: not ahead of the log's clock, nor before the last one in the room.

    All are in ms since the Unix epoch. `before` may itself be ahead, in a log with times of a clock that was wrong.
    """
    return max(min(at, now), min(before, now))


def old_enough(times: Iterable[int], before: int, now: int) -> int:
    """Return how many of a room's oldest messages, given their times, were logged before a time, as `trim` has it."""
    count = 0
    for number, at in enumerate(times, 1):
        if at > now:
            continue  # as old as the next one whose time is known
        if at >= before:
            break
        count = number
    return count


class RoomLog(Protocol):
    """The contract. Every method may be called by any thread and raises LogError if the engine cannot do it."""

    @property
    def identity(self) -> str:
        """A word that names this log, wherever and through whatever path it is opened."""
        ...

    def now(self) -> int:
        """Return the time by the log's own clock, in ms since the Unix epoch: the one that all its nodes go by."""
        ...

    def check(self) -> None:
        """Return if the log can be asked now; raises LogError, and changes nothing."""
        ...

    @property
    def remark(self) -> str:
        """What its operator should know of how it keeps what was said, in a line; empty if there is nothing to say."""
        ...

    def append(self, room: str, posts: Sequence[Post]) -> list[Appended]:
        """Log the posts in their order, all or none, and return where each stands.

        New posts get consecutive offsets from 1 on. A post whose (session, id) the room has is not logged again. A new
        post that edits or reacts to a deleted record is refused. Times are logged as `settled_time` has them.

        A post of the kind `redact` also deletes, in the same transaction, the record that its `ref` names and all edits
        of that record: `read` then gives records of the kind `gone` in their places, with `GONE_TEXT`, no `ref` and no
        `data`. Nothing of the deleted texts stays in the log's files or memory, but in what the engine writes for its
        own recovery.
        """
        ...

    def read(self, room: str, after: int, limit: int) -> list[Message]:
        """Return at most `limit` messages whose offsets follow `after`, in order, as far as they are kept."""
        ...

    def extent(self, room: str) -> Extent:
        """Return what is kept of the room; `top` is 0 if nothing was said yet."""
        ...

    def rooms(self, after: str, limit: int) -> list[str]:
        """Return at most `limit` names, in the order of their code points, of the rooms that follow `after`.

        Where rooms are on several servers, those on one that does not answer now may be missing.
        """
        ...

    def trim(self, room: str, keep: int, before: int, limit: int) -> bool:
        """Forget the room's oldest messages, at most `limit`; return whether there may be more to forget.

        The last `keep` messages stay, and so do those from the first on that was logged at `before` (ms since the Unix
        epoch) or later. A time ahead of the log's clock tells nothing: such a message is as old as the next one whose
        time is known, and stays if there is none. Offsets go on as if nothing had been forgotten; a forgotten message's
        post may not be known any more. Takes no longer than an append may have to wait.
        """
        ...

    def hasten(self) -> None:
        """Wait no longer than a moment for a log that another program holds: the node is about to close it."""
        ...

    def close(self) -> None:
        """Close what is open; the log may not be used after."""
        ...
