"""The room log: what was said, in the one order that everybody sees.

This package owns the contract that every engine keeps and the opening of an engine by URL; any thread may call an
engine. An engine must never give out an offset twice, nor report a post as logged before it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from parlour.wire.errors import ParlourError, UnavailableError
from parlour.wire.messages import Message

__all__ = [
    "AHEAD",
    "Appended",
    "Extent",
    "LogError",
    "Post",
    "RichPost",
    "RoomLog",
    "StaleStateError",
    "StateVersion",
    "kinds_of",
    "old_enough",
    "settled_time",
    "settled_times",
]


AHEAD = 10_000
"""Most messages that a trim reads to find one whose time is not ahead of the log's clock."""


class LogError(UnavailableError):
    """The room log cannot be opened, read or written now.

    The failed call logged nothing; only if a server did not answer in time, it may have logged all. Append the same
    posts again to learn which.
    """


class StateVersion(NamedTuple):
    """A version of a room's state: the offset of the room's last state record, 0 if it has none, in this epoch.

    After a log lost its end, it may give out an offset again, so the offset alone does not name a state.
    """

    epoch: str
    offset: int


class StaleStateError(ParlourError):
    """The posts were judged by another state than the room has; nothing was logged. This is no failure of the log.

    Attributes:
        version: the version of the room's state in the log.
        state: the document of that version; empty if the room has none.
    """

    def __init__(self, version: StateVersion, state: bytes) -> None:
        super().__init__("the room's state has changed: judge the posts by the new state, and append them again")
        self.version = version
        self.state = state


class Post(Struct, frozen=True, array_like=True, gc=False):
    """What a client posts. A room logs each `(session, id)` once; `at` is in ms since the Unix epoch."""

    session: str
    id: int
    by: str
    at: int
    text: str


class RichPost(Post, frozen=True, array_like=True, gc=False):
    """A post with a record's own fields (see `wire.records`). A plain text is a `Post`, which costs less.

    An engine may write both classes as arrays, which differ in length, and read both as this class.
    """

    kind: str = ""
    ref: int = 0
    account: str = ""
    data: dict[str, Any] = {}


def kinds_of(posts: Sequence[Post]) -> set[str]:
    """Return the kinds of those posts that are no plain texts. Posts come in masses, so none of them costs a call."""
    return {post.kind for post in posts if type(post) is RichPost} if RichPost in set(map(type, posts)) else set()


class Appended(Struct, frozen=True, gc=False):
    """The place of a post in the log; for a duplicate, the place and time of the first copy.

    A refused post (the record that it refers to is deleted) is a duplicate at offset 0.
    """

    epoch: str
    offset: int
    at: int
    duplicate: bool


class Extent(NamedTuple):
    """The offsets that a room keeps: those of `epoch` after `trimmed`, up to `top`; both are equal if it keeps none."""

    epoch: str
    trimmed: int
    top: int


def settled_time(at: int, before: int, now: int) -> int:
    """Return the time to log for a post: not ahead of the log's clock, nor before the last post in the room.

    All times are in ms since the Unix epoch. `before` may itself be ahead, if a node's clock was once wrong.
    """
    return max(min(at, now), min(before, now))


def settled_times(posts: Sequence[Post], before: int, now: int) -> Sequence[Post]:
    """Return the posts with the times to log (see `settled_time`); most posts need no change."""
    last = before
    for post in posts:
        if not last <= post.at <= now:
            break
        last = post.at
    else:
        return posts
    settled: list[Post] = []
    for post in posts:
        before = settled_time(post.at, before, now)
        settled.append(post if before == post.at else replace(post, at=before))
    return settled


def old_enough(times: Iterable[int], before: int, now: int) -> int:
    """Return how many of a room's oldest messages, given their times, `trim` may forget as older than `before`."""
    count = 0
    for number, at in enumerate(times, 1):
        if at > now:
            continue  # as old as the next message whose time is not ahead
        if at >= before:
            break
        count = number
    return count


class RoomLog(Protocol):
    """The contract. Every method may be called by any thread and raises LogError if the engine cannot do it."""

    @property
    def identity(self) -> str:
        """The name of this log; it is the same for every node and every path or URL that leads to the log."""
        ...

    def now(self) -> int:
        """Return the time of the log's own clock, which all its nodes use, in ms since the Unix epoch."""
        ...

    def check(self) -> None:
        """Do nothing if the log answers now; raises LogError if it does not. Changes nothing."""
        ...

    @property
    def remark(self) -> str:
        """A line for the operator about a risk to the log's data (who can read it, what a crash loses); else empty."""
        ...

    def append(
        self, room: str, posts: Sequence[Post], checked: StateVersion | None = None, state: bytes = b""
    ) -> list[Appended]:
        """Log the posts in their order, all or none, and return the place of each.

        New posts get consecutive offsets; the first in a room is 1. The log does not log a post again whose (session,
        id) the room has, and refuses a new post that edits or reacts to a deleted record. It logs the times that
        `settled_time` returns.

        A post of the kind `redact` also deletes, in the same transaction, the record that its `ref` names and all edits
        of that record: `read` then gives records of the kind `gone` in their places, with `GONE_TEXT`, no `ref` and no
        `data`. The deleted texts leave the log's files and memory; only what the engine writes for its own recovery may
        still hold them.

        With `checked`, the posts were judged by the room's state of that version. If the room's state in the log is of
        another version, the log appends nothing and raises StaleStateError; without posts it only checks. With `state`,
        the last of the posts is a state record: unless the log has it already, `state` becomes the room's document and
        the post's offset its version, in the same transaction.
        """
        ...

    def state(self, room: str) -> tuple[int, bytes]:
        """Return the version (without its epoch) and the document of the room's state; 0 and b"" if it has none.

        A trim does not change the state, and it is there after a restart.
        """
        ...

    def read(self, room: str, after: int, limit: int) -> list[Message]:
        """Return the first kept messages whose offsets follow `after`, in order, at most `limit`."""
        ...

    def extent(self, room: str) -> Extent:
        """Return which offsets the room keeps; `top` is 0 if nothing was logged yet."""
        ...

    def rooms(self, after: str, limit: int) -> list[str]:
        """Return the names of the rooms that follow `after`, in the order of their code points, at most `limit`.

        In a log of several servers, the rooms of a server that does not answer may be missing.
        """
        ...

    def trim(self, room: str, keep: int, before: int, limit: int) -> bool:
        """Forget the room's oldest messages, at most `limit`; return whether there may be more to forget.

        The last `keep` messages stay. So does the first message that was logged at `before` (ms since the Unix epoch)
        or later, with all that follow it. A time ahead of the log's clock says nothing: such a message counts as old as
        the next one with a time that is not ahead, and stays if there is none. Trimming does not change offsets; the
        log may log a post again whose message it forgot. A trim takes no longer than an append may wait.
        """
        ...

    def hasten(self) -> None:
        """From now on wait only a moment for a lock that another program holds: the node is about to close the log."""
        ...

    def close(self) -> None:
        """Close the log; do not use it afterwards."""
        ...
