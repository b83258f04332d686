"""What the room log does inside a Redis server: the keys of a room, and the scripts that read and write them.

This module owns the names, the scripts' text and what is asked of a server in one job; each job is one thread's at a
time. A script must never write anything before it has read all that could make it fail.

The keys of a room, all with the hash tag `{ROOM}`, so that in a Redis Cluster they are on one server:

- `parlour:{ROOM}:log`, a stream: the message with offset N is the entry `N-0`;
- `parlour:{ROOM}:room`, a hash: the epoch, the top offset (which outlives a trimmed stream), the log's identity and
  the server's run of which the epoch is;
- `parlour:{ROOM}:posts:SESSION:N`, a hash for each 100 ids of a session: where and when each was logged. Redis forgets
  it an hour after the last of them, so what is remembered grows with what was said in the last hour alone. Within that
  hour every id is known exactly, whatever the order the ids came in and however much of the stream is trimmed.

`parlour:identity` stands alone. Each script is about one room. Its text, and so its name, contains the server's *line*,
which is the id of the history that it gives to replicas: it is another after every start and every promotion of a
replica. A server that was restarted does not know the script, one that was a replica meanwhile refuses it, and neither
can be mistaken for the one before. The *run* is the line too, with which the epoch ends, as the server may have lost
what it acknowledged; or it is a word that outlives the line, if everything stays on the server's disk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from redis.crc import key_slot

from parlour.node.log import AHEAD, LogError, Post

__all__ = ["IDENTITY", "PATTERN", "REMEMBERED", "SYNCED", "Job", "key", "room_of", "scripts"]

REMEMBERED = 3600
"""How long a post is known at the least, for it to be sent again and logged once, in seconds."""

IDENTITY = "parlour:identity"
"""The key of the log's identity."""

PATTERN = "parlour:{*}:log"
"""What the names of all streams look like."""

SYNCED = "synced"
"""The run of every server that has on its disk what it acknowledges."""

_BUCKET = 100  # ids in one hash: as few as Redis keeps without a table, in some 25 bytes each

_BEGIN = """
if not string.find(redis.call('INFO', 'replication'), 'master_replid:' .. LINE, 1, true) then
    return redis.error_reply('NOSCRIPT the server was a replica meanwhile')
end
local state = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'log', 'run', 'at')
local epoch, top = state[1], tonumber(state[2] or '0')
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if epoch and state[3] ~= LOG then
    return redis.error_reply('OTHERLOG the room is of another log')
end
"""

_APPEND = f"""
-- KEYS: the room's hash, its stream, and for each post the hash of its id. ARGV: an epoch, in case a new one has to
-- begin; "new" if the room may be made; for each post session, id, name, time and text. Without posts it only looks.
-- A room in which nothing was said yet is forgotten when nobody has looked at it for as long as posts are remembered.
if not epoch and ARGV[2] ~= 'new' then
    return false
end
local renewed = state[4] ~= RUN
if renewed then
    epoch = ARGV[1]
end
-- All is read before anything is written: a key that is not ours fails the batch whole.
local places, trimmed = {{}}, top
for i = 1, #KEYS - 2 do
    places[i] = redis.call('HGET', KEYS[i + 2], ARGV[5 * i - 1])
end
if #places == 0 then
    local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
    trimmed = first and tonumber(string.match(first[1], '%d+')) - 1 or top
end
local said, before = {{}}, top
local latest = math.min(tonumber(state[5] or '0'), now)
for i = 1, #places do
    local bucket, session, id, by, at, text = KEYS[i + 2], unpack(ARGV, 5 * i - 2, 5 * i + 2)
    local name = bucket .. ' ' .. id
    places[i] = places[i] or said[name]
    if not places[i] then
        top = top + 1
        latest = math.max(math.min(tonumber(at), now), latest)
        at = string.format('%d', latest)
        local offset = string.format('%d', top)
        redis.call('XADD', KEYS[2], offset .. '-0', 'session', session, 'id', id, 'by', by, 'at', at, 'text', text)
        said[name] = offset .. ' ' .. at
        redis.call('HSET', bucket, id, said[name])
        redis.call('EXPIRE', bucket, {REMEMBERED})
        places[i] = said[name] .. ' new'
    end
end
-- Also for posts that were logged before: WAIT counts the replicas that have what this connection wrote.
if renewed or #places > 0 then
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'top', string.format('%d', top), 'log', LOG, 'run', RUN)
end
if top > before then
    redis.call('HSET', KEYS[1], 'at', string.format('%d', latest))
end
if top == 0 then
    redis.call('EXPIRE', KEYS[1], {REMEMBERED})
elseif before == 0 then
    redis.call('PERSIST', KEYS[1])
end
return {{epoch, trimmed, top, places}}
"""

_TRIM = """
-- KEYS: the room's hash and its stream. ARGV: (two that are not used), how many to keep, before which time, how many.
-- A time ahead of the clock tells nothing: such a message is as old as the next one whose time is known.
local last, from, first = top - tonumber(ARGV[3]), '-', nil
local limit, before, count, seen = tonumber(ARGV[5]), tonumber(ARGV[4]), 0, 0
while last > 0 and count < limit and seen < AHEAD do
    local entries = redis.call('XRANGE', KEYS[2], from, string.format('%d', last), 'COUNT', limit)
    local known = false
    for number, entry in ipairs(entries) do
        local at = tonumber(entry[2][8])
        known = at <= now
        if known and at >= before then
            break
        end
        if known then
            count = math.min(limit, seen + number)
        end
    end
    if known or #entries < limit then
        break
    end
    seen, from = seen + #entries, '(' .. entries[#entries][1]
end
if count > 0 then
    local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1][1]
    first = tonumber(string.match(oldest, '%d+')) + count
end
if first then
    redis.call('XTRIM', KEYS[2], 'MINID', '=', string.format('%d', first))
end
return count
"""


def scripts(run: str, line: str, identity: str) -> dict[str, str]:
    """Return the texts of the scripts for a run and line of a server, by their names."""
    begin = f"local RUN, LINE, LOG, AHEAD = '{run}', '{line}', '{identity}', {AHEAD}{_BEGIN}"
    return {"append": begin + _APPEND, "trim": begin + _TRIM}


def key(room: str, kind: str) -> str:
    """Return the name of a room's key: a brace in the room's name would end the hash tag."""
    return "parlour:{" + re.sub("[%{}]", lambda found: f"%{ord(found[0]):X}", room) + "}:" + kind


def room_of(stream: str) -> str:
    """Return the name of the room whose stream has this name."""
    tag = stream.removeprefix("parlour:{").removesuffix("}:log")
    return re.sub("%(25|7B|7D)", lambda found: chr(int(found[1], 16)), tag)


class Job:
    """One command about one room, or one script, and what became of it.

    `moved` is what a server said that has the room no more, and `asking` that the next one is asked although it does
    not have it yet.
    """

    __slots__ = ("answer", "asking", "command", "error", "keys", "moved", "posts", "script")

    def __init__(self, script: str, keys: Sequence[str], command: Sequence[Any], posts: int = 0) -> None:
        self.script = script
        self.keys = keys
        self.command = command
        self.posts = posts
        self.answer: Any = None
        self.error: LogError | None = None
        self.moved: Exception | None = None
        self.asking = False

    @classmethod
    def append(cls, room: str, posts: Sequence[Post]) -> Job:
        """Log the posts; without any, only tell where the room stands."""
        buckets = [key(room, f"posts:{post.session}:{post.id // _BUCKET}") for post in posts]
        arguments = [value for p in posts for value in (p.session, p.id, p.by, p.at, p.text)]
        return cls("append", [key(room, "room"), key(room, "log"), *buckets], arguments, len(posts))

    @classmethod
    def trim(cls, room: str, keep: int, before: int, limit: int) -> Job:
        """Forget the oldest messages."""
        return cls("trim", [key(room, "room"), key(room, "log")], [keep, before, limit])

    @classmethod
    def plain(cls, command: str, name: str, *arguments: Any) -> Job:
        """Give a command on the key of this name."""
        return cls("", [name], [command, name, *arguments])

    @property
    def done(self) -> bool:
        """Whether it was given to a server."""
        return self.answer is not None or self.error is not None or self.moved is not None

    @property
    def slot(self) -> int:
        """The hash slot of its keys."""
        return int(key_slot(self.keys[0].encode()))
