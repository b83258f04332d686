"""What the room log does inside a Redis server: the keys of a room, and the scripts that read and write them.

This module owns the names, the scripts' text and what is asked of a server in one job; each job is one thread's at a
time. A script must never write anything before it has read all that could make it fail.

The keys of a room, all with the hash tag `{ROOM}`, so that in a Redis Cluster they are on one server:

- `parlour:{ROOM}:log`, a stream: the record with offset N is the entry `N-0`;
- `parlour:{ROOM}:room`, a hash: the epoch, the top offset (which outlives a trimmed stream), the log's identity, the
  server's run of which the epoch is, and whether there are records aside;
- `parlour:{ROOM}:aside`, a sorted set by offset: the records that a deletion moved out of the stream. The stream has no
  entry that can be replaced, and keeps the bytes of a deleted one until its whole node of entries is deleted. So a
  deletion moves all entries that may share the node, and takes the text from the deleted record among them. A node
  holds neighbours in the stream, whatever their offsets: entries that were moved leave gaps between them;
- `parlour:{ROOM}:edits`, a sorted set: the offsets of edits by the offset of the record that they edit;
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

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from redis.crc import key_slot

from parlour.node.log import AHEAD, LogError, Post, RichPost
from parlour.wire.limits import sane_time
from parlour.wire.messages import Message
from parlour.wire.records import EDIT, GONE, GONE_TEXT, REACT, REDACT

__all__ = [
    "IDENTITY",
    "PATTERN",
    "REMEMBERED",
    "SYNCED",
    "Job",
    "key",
    "message_of",
    "read_aside",
    "room_of",
    "scripts",
]

REMEMBERED = 3600
"""How long a post is known at the least, for it to be sent again and logged once, in seconds."""

IDENTITY = "parlour:identity"
"""The key of the log's identity."""

NODE = 128
"""Entries on either side of a deleted one that are moved with it: more than the 100 that share a node by default."""

PATTERN = "parlour:{*}:log"
"""What the names of all streams look like."""

SYNCED = "synced"
"""The run of every server that has on its disk what it acknowledges."""

_BUCKET = 100  # ids in one hash: as few as Redis keeps without a table, in some 25 bytes each

_BEGIN = """
if not string.find(redis.call('INFO', 'replication'), 'master_replid:' .. LINE, 1, true) then
    return redis.error_reply('NOSCRIPT the server was a replica meanwhile')
end
local state = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'log', 'run', 'at', 'aside')
local epoch, top = state[1], tonumber(state[2] or '0')
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if epoch and state[3] ~= LOG then
    return redis.error_reply('OTHERLOG the room is of another log')
end
-- The keys of records aside and of edits are given only where they are needed: while the slots of a cluster move, a
-- server does not answer about several keys of which it lacks one.
local fixed = KEYS[3] and string.sub(KEYS[3], -6) == ':aside' and 4 or 2
if state[6] and fixed == 2 then
    return redis.error_reply('ASIDE the room has records aside')
end
-- Return the offsets and times of at most so many records, from the stream and from aside, in order.
local function range(first, last, count)
    local found = {}
    for _, entry in ipairs(redis.call('XRANGE', KEYS[2], first, last, 'COUNT', count)) do
        found[#found + 1] = {tonumber(string.match(entry[1], '%d+')), tonumber(entry[2][8])}
    end
    if state[6] then
        for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], first, last, 'LIMIT', 0, count)) do
            local offset, fields = string.match(member, '^(%d+) (.*)$')
            found[#found + 1] = {tonumber(offset), tonumber(cjson.decode(fields)[8])}
        end
        table.sort(found, function(one, other) return one[1] < other[1] end)
        while #found > count do
            table.remove(found)
        end
    end
    return found
end
"""

_DELETE = f"""
local function put_aside(offset, fields)
    redis.call('ZADD', KEYS[3], offset, offset .. ' ' .. cjson.encode(fields))
end
local function without_text(fields)
    local kept = {{}}
    for i = 1, #fields, 2 do
        if fields[i] ~= 'text' and fields[i] ~= 'kind' and fields[i] ~= 'ref' and fields[i] ~= 'data' then
            kept[#kept + 1], kept[#kept + 2] = fields[i], fields[i + 1]
        end
    end
    -- The text stands where it stands in all records, behind the first four fields.
    table.insert(kept, 9, 'text')
    table.insert(kept, 10, '{GONE_TEXT}')
    kept[#kept + 1], kept[#kept + 2] = 'kind', '{GONE}'
    return kept
end
-- Move the entries aside that may share a node with this one, or shared it once: they are its neighbours in the stream.
local function clear_node(offset)
    local here, behind = string.format('%d', offset), string.format('%d', offset + 1)
    local neighbours = redis.call('XREVRANGE', KEYS[2], here, '-', 'COUNT', {NODE})
    for _, entry in ipairs(redis.call('XRANGE', KEYS[2], behind, '+', 'COUNT', {NODE})) do
        neighbours[#neighbours + 1] = entry
    end
    for _, entry in ipairs(neighbours) do
        put_aside(string.match(entry[1], '%d+'), entry[2])
        redis.call('XDEL', KEYS[2], entry[1])
    end
    redis.call('HSET', KEYS[1], 'aside', '1')
end
local function find_aside(name)
    local member = redis.call('ZRANGEBYSCORE', KEYS[3], name, name)[1]
    return member, member and cjson.decode(string.match(member, '^%d+ (.*)$'))
end
local function is_gone(fields)
    return fields and fields[#fields - 1] == 'kind' and fields[#fields] == '{GONE}'
end
-- Delete the text of one record; return false if it is not kept, or gone already.
local function erase(offset)
    local name = string.format('%d', offset)
    local member, fields = find_aside(name)
    if is_gone(fields) or (not member and #redis.call('XRANGE', KEYS[2], name, name) == 0) then
        return false
    end
    -- Also if it was moved before: its node may have entries left, and so all the bytes that it ever had.
    clear_node(offset)
    member, fields = find_aside(name)
    redis.call('ZREM', KEYS[3], member)
    put_aside(name, without_text(fields))
    return true
end
local function delete(offset)
    local edits = redis.call('ZRANGEBYSCORE', KEYS[4], offset, offset)
    if erase(offset) then
        for _, edit in ipairs(edits) do
            erase(tonumber(edit))
        end
    end
    redis.call('ZREMRANGEBYSCORE', KEYS[4], offset, offset)
end
"""

_APPEND = f"""
-- KEYS: the room's hash, its stream, perhaps its records aside and its edits; for each post the hash of its id.
-- ARGV: an epoch, in case a new one has to begin; "new" if the room may be made; for each post session, id, name, time,
-- text, and its other fields as a JSON array of names and values, or nothing. Without posts it only looks.
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
for i = 1, #KEYS - fixed do
    places[i] = redis.call('HGET', KEYS[i + fixed], ARGV[6 * i - 2])
    if ARGV[6 * i + 2] ~= '' then
        redis.call('ZCARD', KEYS[3])
        redis.call('ZCARD', KEYS[4])
    end
end
if #places == 0 then
    local first = range(1, top, 1)[1]
    trimmed = first and first[1] - 1 or top
end
local said, before = {{}}, top
local latest = math.min(tonumber(state[5] or '0'), now)
for i = 1, #places do
    local bucket, session, id, by, at, text, more = KEYS[i + fixed], unpack(ARGV, 6 * i - 3, 6 * i + 2)
    local name = bucket .. ' ' .. id
    local fields = more == '' and {{}} or cjson.decode(more)
    local kind, ref = fields[1] == 'kind' and fields[2], fields[3] == 'ref' and tonumber(fields[4])
    places[i] = places[i] or said[name]
    if not places[i] and (kind == '{EDIT}' or kind == '{REACT}') and ref then
        local _, about = find_aside(string.format('%d', ref))
        places[i] = is_gone(about) and '0 0'
    end
    if not places[i] then
        top = top + 1
        latest = math.max(math.min(tonumber(at), now), latest)
        at = string.format('%d', latest)
        local offset = string.format('%d', top)
        redis.call('XADD', KEYS[2], offset .. '-0', 'session', session, 'id', id, 'by', by, 'at', at, 'text', text,
            unpack(fields))
        if kind == '{EDIT}' and ref then
            redis.call('ZADD', KEYS[4], ref, offset)
            redis.call('HSET', KEYS[1], 'aside', '1')
        elseif kind == '{REDACT}' and ref and ref < top then
            delete(ref)
        end
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
-- KEYS: as above. ARGV: (two that are not used), how many to keep, before which time, how many.
-- A time ahead of the clock tells nothing: such a record is as old as the next one whose time is known.
local last, from, oldest = top - tonumber(ARGV[3]), 1, nil
local limit, before, count, seen = tonumber(ARGV[5]), tonumber(ARGV[4]), 0, 0
while last > 0 and count < limit and seen < AHEAD do
    local records = range(from, last, limit)
    local known = false
    for number, record in ipairs(records) do
        oldest = oldest or record[1]
        known = record[2] <= now
        if known and record[2] >= before then
            break
        end
        if known then
            count = math.min(limit, seen + number)
        end
    end
    if known or #records < limit then
        break
    end
    seen, from = seen + #records, records[#records][1] + 1
end
if count > 0 then
    local first = string.format('%d', oldest + count)
    redis.call('XTRIM', KEYS[2], 'MINID', '=', first)
    if fixed == 4 then
        redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. first)
        redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', '(' .. first)
    end
end
return count
"""


def scripts(run: str, line: str, identity: str) -> dict[str, str]:
    """Return the texts of the scripts for a run and line of a server, by their names."""
    begin = f"local RUN, LINE, LOG, AHEAD = '{run}', '{line}', '{identity}', {AHEAD}{_BEGIN}"
    return {"append": begin + _DELETE + _APPEND, "trim": begin + _TRIM}


def key(room: str, kind: str) -> str:
    """Return the name of a room's key: a brace in the room's name would end the hash tag."""
    return "parlour:{" + re.sub("[%{}]", lambda found: f"%{ord(found[0]):X}", room) + "}:" + kind


def room_of(stream: str) -> str:
    """Return the name of the room whose stream has this name."""
    tag = stream.removeprefix("parlour:{").removesuffix("}:log")
    return re.sub("%(25|7B|7D)", lambda found: chr(int(found[1], 16)), tag)


def _more(post: Post) -> str:
    """Return the fields of a post besides those that all posts have, as the script takes them."""
    if not isinstance(post, RichPost):
        return ""
    # Kind and reference first, where the script looks for them.
    fields = ["kind", post.kind, "ref", str(post.ref)]
    if post.account:
        fields += ["account", post.account]
    if post.data:
        fields += ["data", json.dumps(post.data)]
    return json.dumps(fields)


def message_of(room: str, offset: int, fields: Mapping[str, str]) -> Message:
    """Return a record as it is read."""
    return Message(
        room,
        offset,
        f"{fields['session']}-{fields['id']}",
        fields["by"],
        sane_time(int(fields["at"])),
        fields["text"],
        fields.get("kind", ""),
        int(fields.get("ref", 0)),
        fields.get("account", ""),
        json.loads(fields["data"]) if "data" in fields else {},
    )


def read_aside(member: str) -> tuple[int, dict[str, str]]:
    """Return the offset and the fields of a record that is aside."""
    offset, _, fields = member.partition(" ")
    values = json.loads(fields)
    return int(offset), dict(zip(values[::2], values[1::2], strict=True))


class Job:
    """One command about one room, or one script, and what became of it.

    `moved` is what a server said that has the room no more, and `asking` that the next one is asked although it does
    not have it yet.
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
    def append(cls, room: str, posts: Sequence[Post]) -> Job:
        """Log the posts; without any, only tell where the room stands."""
        buckets = [key(room, f"posts:{post.session}:{post.id // _BUCKET}") for post in posts]
        arguments = [value for p in posts for value in (p.session, p.id, p.by, p.at, p.text, _more(p))]
        job = cls("append", [key(room, "room"), key(room, "log"), *buckets], arguments, len(posts))
        if RichPost in set(map(type, posts)):
            job.widen()
        return job

    @classmethod
    def trim(cls, room: str, keep: int, before: int, limit: int) -> Job:
        """Forget the oldest messages."""
        return cls("trim", [key(room, "room"), key(room, "log")], [keep, before, limit])

    @classmethod
    def plain(cls, command: str, name: str, *arguments: Any) -> Job:
        """Give a command on the key of this name."""
        return cls("", [name], [command, name, *arguments])

    def widen(self) -> None:
        """Give the script the keys of records aside and of edits, too."""
        if not self.wide:
            self.wide = True
            begin = self.keys[0].removesuffix("room")
            self.keys = [*self.keys[:2], f"{begin}aside", f"{begin}edits", *self.keys[2:]]

    @property
    def done(self) -> bool:
        """Whether it was given to a server."""
        return self.answer is not None or self.error is not None or self.moved is not None

    @property
    def slot(self) -> int:
        """The hash slot of its keys."""
        return int(key_slot(self.keys[0].encode()))
