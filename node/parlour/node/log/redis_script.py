"""The scripts of the room log in a Redis server, and the contents of a room's keys.

This module owns the scripts' text; its function is pure. A script must never write before it has done every read that
could fail.

The keys of a room, all with the hash tag `{ROOM}`, so that in a Redis Cluster they are on one server:

- `parlour:{ROOM}:log`, a stream: the record with offset N is the entry `N-0`;
- `parlour:{ROOM}:room`, a hash: the epoch, the top offset (which a trim does not change), the log's identity, the run
  of the server that began the epoch, whether there are records aside, and the room's state with its version;
- `parlour:{ROOM}:aside`, a sorted set by offset: the records that deletions moved out of the stream. Redis cannot
  replace an entry of a stream, and keeps the bytes of a deleted entry in memory and in dumps until its whole node,
  about a hundred entries, is deleted. So a deletion moves whole nodes, and removes the deleted record's text aside;
- `parlour:{ROOM}:edits`, a sorted set: the offsets of edits, scored by the offset of the edited record;
- `parlour:{ROOM}:posts:SESSION:N`, a hash for each 100 ids of a session: the offset and time of each. Redis forgets it
  an hour after the last post, so the memory for ids depends on the posts of the last hour alone. Within that hour every
  id is known exactly, in whatever order the ids came and however much of the stream is trimmed.

`parlour:identity` belongs to no room; each script is about one room. The text of a script, and so its SHA, contains the
server's *line*: its replication id, which changes at every start and at every promotion of a replica. A restarted
server does not know the script, and a server that was a replica meanwhile refuses it, so neither can be mistaken for
the old one. The *run* decides when an epoch ends. It is the line if the server may lose acknowledged posts in a crash,
and a fixed word if everything that it acknowledges is on its disk.
"""

from __future__ import annotations

from parlour.node.log import AHEAD
from parlour.wire.records import EDIT, GONE, GONE_TEXT, REACT, REDACT

__all__ = ["REMEMBERED", "SYNCED", "scripts"]

REMEMBERED = 3600
"""Shortest time, in seconds, for which the log recognizes a post that is sent again."""

SYNCED = "synced"
"""The run of every server that syncs each acknowledged post to its disk."""

_BEGIN = """
if not string.find(redis.call('INFO', 'replication'), 'master_replid:' .. LINE, 1, true) then
    return redis.error_reply('NOSCRIPT the server was a replica meanwhile')
end
local state = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'log', 'run', 'at', 'aside', 'version')
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
"""

_DELETE = """
local function put_aside(offset, fields)
    redis.call('ZADD', KEYS[3], offset, offset .. ' ' .. cjson.encode(fields))
end
local function without_text(fields)
    local kept = {}
    for i = 1, #fields, 2 do
        if fields[i] ~= 'text' and fields[i] ~= 'kind' and fields[i] ~= 'ref' and fields[i] ~= 'data' then
            kept[#kept + 1], kept[#kept + 2] = fields[i], fields[i + 1]
        end
    end
    -- The text stands where it stands in all records, behind the first four fields.
    table.insert(kept, 9, 'text')
    table.insert(kept, 10, GONE_TEXT)
    kept[#kept + 1], kept[#kept + 2] = 'kind', GONE
    return kept
end
local function nodes()
    local info = redis.call('XINFO', 'STREAM', KEYS[2])
    for i = 1, #info, 2 do
        if info[i] == 'radix-tree-keys' then
            return info[i + 1]
        end
    end
end
-- Move one entry after the other aside, until a node is gone.
local function move(command, from, to)
    local before = nodes()
    repeat
        local entry = redis.call(command, KEYS[2], from, to, 'COUNT', 1)[1]
        if entry then
            put_aside(string.match(entry[1], '%d+'), entry[2])
            redis.call('XDEL', KEYS[2], entry[1])
        end
    until not entry or nodes() < before
end
local function find_aside(name)
    local member = redis.call('ZRANGEBYSCORE', KEYS[3], name, name)[1]
    return member, member and cjson.decode(string.match(member, '^%d+ (.*)$'))
end
is_gone = function(name)
    local _, fields = find_aside(name)
    return fields and fields[#fields - 1] == 'kind' and fields[#fields] == GONE
end
-- Delete the text of one record; return false if it is not kept, or gone already.
local function erase(offset)
    local name = string.format('%d', offset)
    local member, fields = find_aside(name)
    if is_gone(name) or not member and #redis.call('XRANGE', KEYS[2], name, name) == 0 then
        return false
    end
    if not member then
        -- With the node that is gone on this side, all that precedes the entry in its own is gone. On the other side
        -- its own is then the first to go. So nodes are moved whole, and nothing of what is aside is in the stream.
        move('XREVRANGE', name, '-')
        move('XRANGE', name, '+')
        redis.call('HSET', KEYS[1], 'aside', '1')
        member, fields = find_aside(name)
    end
    redis.call('ZREM', KEYS[3], member)
    put_aside(name, without_text(fields))
    return true
end
delete = function(offset)
    local edits = redis.call('ZRANGEBYSCORE', KEYS[4], offset, offset)
    if erase(offset) then
        for _, edit in ipairs(edits) do
            erase(tonumber(edit))
        end
    end
    redis.call('ZREMRANGEBYSCORE', KEYS[4], offset, offset)
end
"""

_APPEND = (
    """
-- KEYS: the room's hash, its stream, perhaps its records aside and its edits; for each post the hash of its id.
-- ARGV: an epoch, in case a new one has to begin; "new" if the room may be made; for each post session, id, name, time
-- and text; for each that has more its place, and its other fields as a JSON array of names and values; perhaps
-- "checked" and the epoch and version of the state by which the posts were judged; perhaps "state" and the document
-- that the last post brings.
-- Without posts it only looks. A room in which nothing was said yet is forgotten when nobody has looked at it for as
-- long as posts are remembered.
if not epoch and ARGV[2] ~= 'new' then
    return false
end
local renewed = state[4] ~= RUN
if renewed then
    epoch = ARGV[1]
end
-- All is read before anything is written: a key that is not ours fails the batch whole.
local count, places, trimmed, more = #KEYS - fixed, {}, top, {}
local is_gone, delete
for i = 1, count do
    places[i] = redis.call('HGET', KEYS[i + fixed], ARGV[5 * i - 1])
end
if count == 0 then
    local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
    trimmed = first and tonumber(string.match(first[1], '%d+')) - 1 or top
end
for i = 5 * count + 3, #ARGV, 2 do
    local place = tonumber(ARGV[i])
    more[place or ARGV[i]] = place and cjson.decode(ARGV[i + 1]) or ARGV[i + 1]
end
local version = state[7] or '0'
local stale = more.checked and more.checked ~= epoch .. ' ' .. version
if stale then
    count = 0
end
if fixed == 4 then
    local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
    trimmed = first and math.min(trimmed, tonumber(first) - 1) or trimmed
    redis.call('ZCARD', KEYS[4])
"""
    + _DELETE
    + """
end
local said, before = {}, top
local latest = math.min(tonumber(state[5] or '0'), now)
for i = 1, count do
    local bucket, session, id, by, at, text = KEYS[i + fixed], unpack(ARGV, 5 * i - 2, 5 * i + 2)
    local name = bucket .. ' ' .. id
    places[i] = places[i] or said[name]
    local fields, own = more[i], {}
    if fields and not places[i] then
        for number = 1, #fields, 2 do
            own[fields[number]] = fields[number + 1]
        end
        if fixed == 4 and (own.kind == EDIT or own.kind == REACT) and own.ref then
            places[i] = is_gone(own.ref) and '0 0'
        end
    end
    if not places[i] then
        top = top + 1
        latest = math.max(math.min(tonumber(at), now), latest)
        at = string.format('%d', latest)
        local offset = string.format('%d', top)
        if fields then
            redis.call('XADD', KEYS[2], offset .. '-0', 'session', session, 'id', id, 'by', by, 'at', at, 'text', text,
                unpack(fields))
        else
            redis.call('XADD', KEYS[2], offset .. '-0', 'session', session, 'id', id, 'by', by, 'at', at, 'text', text)
        end
        if own.kind == EDIT and own.ref then
            redis.call('ZADD', KEYS[4], own.ref, offset)
            redis.call('HSET', KEYS[1], 'aside', '1')
        elseif own.kind == REDACT and own.ref and tonumber(own.ref) < top then
            delete(tonumber(own.ref))
        end
        said[name] = offset .. ' ' .. at
        redis.call('HSET', bucket, id, said[name])
        redis.call('EXPIRE', bucket, REMEMBERED)
        places[i] = said[name] .. ' new'
    end
end
if more.state and count > 0 and string.sub(places[count], -4) == ' new' then
    redis.call('HSET', KEYS[1], 'version', string.format('%d', top), 'state', more.state)
end
-- Also for posts that were logged before: WAIT counts the replicas that have what this connection wrote.
if renewed or count > 0 then
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'top', string.format('%d', top), 'log', LOG, 'run', RUN)
end
if top > before then
    redis.call('HSET', KEYS[1], 'at', string.format('%d', latest))
end
if top == 0 then
    redis.call('EXPIRE', KEYS[1], REMEMBERED)
elseif before == 0 then
    redis.call('PERSIST', KEYS[1])
end
if stale then
    return {epoch, trimmed, top, {}, version, redis.call('HGET', KEYS[1], 'state') or ''}
end
return {epoch, trimmed, top, places}
"""
)

_TRIM = """
-- KEYS: as above. ARGV: (two that are not used), how many to keep, before which time, how many.
-- Return the offsets and times of at most so many records, from the stream and from aside, in order.
local function range(first, last, count)
    local found = {}
    for _, entry in ipairs(redis.call('XRANGE', KEYS[2], first, last, 'COUNT', count)) do
        found[#found + 1] = {tonumber(string.match(entry[1], '%d+')), tonumber(entry[2][8])}
    end
    if fixed == 4 then
        for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], first, last, 'LIMIT', 0, count)) do
            local offset, fields = string.match(member, '^(%d+) (.*)$')
            found[#found + 1] = {tonumber(offset), tonumber(cjson.decode(fields)[8])}
        end
        table.sort(found, function(one, other) return one[1] < other[1] end)
        for i = #found, count + 1, -1 do
            found[i] = nil
        end
    end
    return found
end
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
    words = {"RUN": run, "LINE": line, "LOG": identity, "EDIT": EDIT, "REACT": REACT, "REDACT": REDACT}
    words |= {"GONE": GONE, "GONE_TEXT": GONE_TEXT}
    begin = f"local AHEAD, REMEMBERED = {AHEAD}, {REMEMBERED}\n"
    begin += f"local {', '.join(words)} = {', '.join(map(repr, words.values()))}{_BEGIN}"
    return {"append": begin + _APPEND, "trim": begin + _TRIM}
