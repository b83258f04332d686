"""Jobs for a Redis server, each about one room, and the names of the room's keys.

This module owns the syntax of keys and records; each job belongs to one thread at a time. `redis_script.py` describes
the contents of the keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec.structs import replace
from redis.crc import key_slot

from parlour.node.log import LogError, Post, RichPost, StateVersion
from parlour.wire.limits import sane_time
from parlour.wire.messages import Message
from parlour.wire.records import EDIT, REDACT

__all__ = ["IDENTITY", "PATTERN", "Job", "key", "message_of", "read_aside", "read_state", "room_of"]

IDENTITY = "parlour:identity"
"""The key of the log's identity."""

PATTERN = "parlour:{*}:log"
"""The pattern of the names of all streams."""

_PLAIN = 5  # fields of a plain record

_BUCKET = 100  # ids in one hash: as few as Redis keeps without a table, in some 25 bytes each


def key(room: str, kind: str) -> str:
    """Return the name of a room's key. Braces in the room's name are escaped: they would end the hash tag."""
    return "parlour:{" + re.sub("[%{}]", lambda found: f"%{ord(found[0]):X}", room) + "}:" + kind


def room_of(stream: str) -> str:
    """Return the name of the room whose stream has this name."""
    tag = stream.removeprefix("parlour:{").removesuffix("}:log")
    return re.sub("%(25|7B|7D)", lambda found: chr(int(found[1], 16)), tag)


def _more(post: RichPost) -> str:
    """Return the optional fields of a post that are not empty, as the script's JSON array of names and values."""
    if not (post.kind or post.ref or post.data):
        return _account(post.account)  # what an account says, in masses
    fields: list[str] = []
    if post.kind:
        fields += ("kind", post.kind)
    if post.ref:
        fields += ("ref", str(post.ref))
    if post.account:
        fields += ("account", post.account)
    if post.data:
        fields += ("data", json.dumps(post.data))
    return json.dumps(fields)


@lru_cache(maxsize=1024)
def _account(name: str) -> str:
    return json.dumps(["account", name] if name else [])


def message_of(room: str, entry: str, fields: Mapping[str, str]) -> Message:
    """Return the message of an entry with this id and these fields."""
    identity = f"{fields['session']}-{fields['id']}"
    message = Message(room, int(entry[:-2]), identity, fields["by"], sane_time(int(fields["at"])), fields["text"])
    if len(fields) == _PLAIN:
        return message
    return replace(
        message,
        kind=fields.get("kind", ""),
        ref=int(fields.get("ref", 0)),
        account=fields.get("account", ""),
        data=json.loads(fields.get("data", "{}")),
    )


def read_aside(member: str) -> tuple[str, dict[str, str]]:
    """Return a record that is aside as an entry of the stream: its id and its fields."""
    offset, _, fields = member.partition(" ")
    values = json.loads(fields)
    return f"{offset}-0", dict(zip(values[::2], values[1::2], strict=True))


def read_state(text: str) -> bytes:
    """Return the document of a room's state from a field of its hash: all answers are text, so it is Latin-1 there."""
    return text.encode("latin-1")


class Job:
    """One command or one script about one room, and its outcome.

    `moved` is the error of a server that no longer has the room. `asking` is true if the next server is asked although
    it does not have the room yet (ASKING).
    """

    __slots__ = ("answer", "asking", "command", "error", "keys", "moved", "posts", "script", "wide")

    def __init__(self, script: str, keys: Sequence[str], command: Sequence[Any], posts: int = 0) -> None:
        self.script = script
        self.keys = keys
        self.command = command
        self.posts = posts
        self.answer: Any = None
        self.error: LogError | None = None
        self.moved: Exception | None = None
        self.asking = False
        self.wide = False

    @classmethod
    def append(cls, room: str, posts: Sequence[Post], checked: StateVersion | None = None, state: bytes = b"") -> Job:
        """Return a job that logs posts; without posts it only reads the room's epoch and extent."""
        prefix = key(room, "")
        buckets = [f"{prefix}posts:{post.session}:{post.id // _BUCKET}" for post in posts]
        arguments: list[Any] = [value for p in posts for value in (p.session, p.id, p.by, p.at, p.text)]
        rich = [(place, post) for place, post in enumerate(posts, 1) if isinstance(post, RichPost)]
        for place, post in rich:
            arguments += (place, _more(post))
        if checked is not None:
            arguments += ("checked", f"{checked.epoch} {checked.offset}")
        if state:
            arguments += ("state", state.decode("latin-1"))
        job = cls("append", [f"{prefix}room", f"{prefix}log", *buckets], arguments, len(posts))
        if any(post.kind in (EDIT, REDACT) for _, post in rich):
            job.widen()
        return job

    @classmethod
    def trim(cls, room: str, keep: int, before: int, limit: int) -> Job:
        """Return a job that forgets the oldest messages."""
        return cls("trim", [key(room, "room"), key(room, "log")], [keep, before, limit])

    @classmethod
    def plain(cls, command: str, name: str, *arguments: Any) -> Job:
        """Return a job that gives a command on the key of this name."""
        return cls("", [name], [command, name, *arguments])

    def widen(self) -> None:
        """Give the script the keys of records aside and of edits as well."""
        if not self.wide:
            self.wide = True
            begin = self.keys[0].removesuffix("room")
            self.keys = [*self.keys[:2], f"{begin}aside", f"{begin}edits", *self.keys[2:]]

    @property
    def done(self) -> bool:
        """Whether a server has answered it, or it has failed."""
        return self.answer is not None or self.error is not None or self.moved is not None

    @property
    def slot(self) -> int:
        """The hash slot of its keys."""
        return int(key_slot(self.keys[0].encode()))
