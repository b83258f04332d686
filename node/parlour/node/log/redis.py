"""A room log in one Redis or Valkey server, shared by nodes on many machines.

This module owns the keys, the script that writes them and the connections to the server; any thread may call it.
Appends of several rooms that wait at the same time go out together. It must never retry by itself what may have been
done, wait longer than its timeouts, nor show the URL's password to anybody.

The keys of a room, all with the hash tag `{ROOM}`, so that in a Redis Cluster they are on one server:

- `parlour:{ROOM}:log`, a stream: the message with offset N is the entry `N-0`;
- `parlour:{ROOM}:room`, a hash: the epoch, the top offset (which outlives a trimmed stream), the log's identity and
  the server's run of which the epoch is;
- `parlour:{ROOM}:posts:SESSION:N`, a hash for each 100 ids of a session: where and when each was logged. Redis forgets
  it an hour after the last of them, so what is remembered grows with what was said in the last hour alone. Within that
  hour every id is known exactly, whatever the order the ids came in and however much of the stream is trimmed.

`parlour:identity` stands alone. Each call is one script on one room. The script's text, and so its name, contains the
server's *run*: a server that was restarted does not know it, and cannot be mistaken for the one before. The run is the
server's run id, with which the epoch ends, as a restarted server may have lost what it acknowledged; it is a word that
outlives the restart if the server, alone and with `appendfsync always`, has everything on its disk. It then has to
rewrite its append-only file once in each run before anything is logged: Redis 7.0, killed in the middle of a write,
leaves the beginning of a transaction in the file and writes on behind it, and the next start takes that for one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from parlour.node.log import Appended, Extent, LogError, Post
from parlour.runtime.locks import make_lock
from parlour.wire.messages import Message

__all__ = ["RedisLog"]

CONNECT = 1.0
"""How long to wait for a connection to the server, in seconds."""

ANSWER = 2.0
"""How long to wait for one answer of the server, and for one of the connections to come free, in seconds."""

REWRITE = 60.0
"""How long posts are refused, at most, while a server rewrites its append-only file after a start, in seconds."""

CONNECTIONS = 16
"""Connections of a node to the server, at most: one writes, the others read."""

REMEMBERED = 3600
"""How long a post is known at the least, for it to be sent again and logged once, in seconds."""

_BUCKET = 100  # ids in one hash: as few as Redis keeps without a table, in some 25 bytes each

_IDENTITY = "parlour:identity"

_OLDEST = (7, 0)  # older servers give scripts to their replicas and files, so that one would outlive the run

_SCRIPT = f"""
-- KEYS: the room's hash, its stream, and for each post the hash of its id. ARGV: an epoch, in case a new one has to
-- begin; "new" if the room may be made; for each post session, id, name, time and text.
local state = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'log', 'run')
local epoch, top = state[1], tonumber(state[2] or '0')
if not epoch and ARGV[2] ~= 'new' then
    return false
end
if epoch and state[3] ~= LOG then
    return redis.error_reply('OTHERLOG the room is of another log')
end
local renewed = state[4] ~= RUN
if renewed then
    epoch = ARGV[1]
end
-- All is read before anything is written: a key that is not ours fails the batch whole.
local places = {{}}
for i = 1, #KEYS - 2 do
    places[i] = redis.call('HGET', KEYS[i + 2], ARGV[5 * i - 1])
end
local first, said = top, {{}}
for i = 1, #places do
    local bucket, session, id, by, at, text = KEYS[i + 2], unpack(ARGV, 5 * i - 2, 5 * i + 2)
    local name = bucket .. ' ' .. id
    places[i] = places[i] or said[name]
    if not places[i] then
        top = top + 1
        local offset = string.format('%d', top)
        redis.call('XADD', KEYS[2], offset .. '-0', 'session', session, 'id', id, 'by', by, 'at', at, 'text', text)
        said[name] = offset .. ' ' .. at
        redis.call('HSET', bucket, id, said[name])
        redis.call('EXPIRE', bucket, {REMEMBERED})
        places[i] = top
    end
end
if renewed or top > first then
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'top', string.format('%d', top), 'log', LOG, 'run', RUN)
end
return {{epoch, top, places}}
"""

_ADVICE = {
    "AuthenticationError": "check the user and password in its URL",
    "AuthorizationError": "check the user and password in its URL",
    "NoPermissionError": "allow its user all commands on parlour:*, INFO and SCRIPT LOAD",
    "BusyLoadingError": "it is reading its data from disk; wait until it has",
    "TimeoutError": "it is stuck or out of reach; see after it and the network",
    "ConnectionError": "see whether it runs and can be reached from here",
    "OutOfMemoryError": "its memory is full; raise maxmemory or make room",
    "ReadOnlyError": "it is a replica; give --log the primary",
    "WRONGTYPE": "another program keeps keys under these names; give --log another database",
    "OTHERLOG": "put the server's parlour:identity back, or give --log another database",
    "MISCONF": "it cannot write to its disk; make room there",
    "DB index": "give --log a lower number",
    "MOVED": "it is one of a Redis Cluster; give --log a server that stands alone",
}
"""What to do about an error, by its class or by a word of its text."""


class _Job:
    """One caller's posts to one room, and what became of them; without posts, the question where the room stands."""

    __slots__ = ("answer", "arguments", "error", "keys")

    def __init__(self, room: str, posts: Sequence[Post]) -> None:
        name = _name(room)
        self.keys = [
            f"{name}:room",
            f"{name}:log",
            *(f"{name}:posts:{post.session}:{post.id // _BUCKET}" for post in posts),
        ]
        self.arguments = [value for p in posts for value in (p.session, p.id, p.by, p.at, p.text)]
        self.answer: tuple[str, int, list[int | str]] | None = None
        self.error: LogError | None = None

    def result(self) -> tuple[str, int, list[int | str]]:
        """Return the epoch, the top and a place for each post, as the script gave them; raises LogError."""
        if self.answer is None:
            raise self.error or LogError("the room log did not take the post: try again")
        return self.answer


def _name(room: str) -> str:
    """Return what the keys of a room begin with: a brace in its name would end the hash tag."""
    return "parlour:{" + re.sub("[%{}]", lambda found: f"%{ord(found[0]):X}", room) + "}"


class RedisLog:
    """The engine behind `redis://HOST:PORT/DB` and, over TLS, `rediss://HOST:PORT/DB`."""

    def __init__(self, url: str) -> None:
        """Connect to the server; raises LogError if that cannot be or the server is not one to keep a log."""
        parts = urlsplit(url)
        self._url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        secure = {"ssl_check_hostname": True} if parts.scheme == "rediss" else {}
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=ANSWER,
            socket_connect_timeout=CONNECT,
            socket_timeout=ANSWER,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            protocol=2,
            **secure,
        )
        # Its own types are those of its asynchronous twin too.
        self._client: Any = redis.Redis(connection_pool=pool)
        # Guards _waiting. Rank 72.
        self._mutex = make_lock(72, "redis log's queue")
        # Guards the turn to send what waits. Rank 60.
        self._writing = make_lock(60, "redis log's writer")
        self._waiting: list[_Job] = []
        self._closed = False
        # Both are replaced by any thread that meets the server; whoever still calls the script of before is told so.
        self.identity = ""
        self._script = ""
        self._patience = ("", 0.0)  # the run whose rewriting is waited for, and until when
        try:
            self._meet()
        except BaseException:
            self.close()
            raise

    # --- the contract -----------------------------------------------------------------------------------------

    def append(self, room: str, posts: Sequence[Post]) -> list[Appended]:
        """Log the posts; see `RoomLog.append`. Whoever gets the turn first sends for all who wait."""
        job = _Job(room, posts)
        with self._mutex:
            self._waiting.append(job)
        with self._writing:
            if job.answer is None and job.error is None:
                with self._mutex:
                    jobs, self._waiting = self._waiting, []
                self._run(jobs)
        epoch, _, places = job.result()
        appended: list[Appended] = []
        for post, place in zip(posts, places, strict=True):
            if isinstance(place, int):
                appended.append(Appended(epoch, place, post.at, False))
            else:
                offset, at = place.split()
                appended.append(Appended(epoch, int(offset), int(at), True))
        return appended

    def read(self, room: str, after: int, limit: int) -> list[Message]:
        """Return messages after an offset; see `RoomLog.read`."""
        self._check_open()
        name = _name(room)
        try:
            # No transaction, which a server without memory refuses; whose log it was is asked after what was in it.
            pipeline = self._client.pipeline(transaction=False)
            pipeline.xrange(f"{name}:log", min=after + 1, count=limit)
            pipeline.hget(f"{name}:room", "log")
            entries, identity = pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise self._explain(error) from None
        for answer in (entries, identity):
            if isinstance(answer, Exception):
                raise self._explain(answer)
        if identity is None:
            return []
        if identity != self.identity:
            raise self._explain(ResponseError("OTHERLOG the room is of another log"))
        return [
            Message(
                room,
                int(offset.partition("-")[0]),
                f"{post['session']}-{post['id']}",
                post["by"],
                int(post["at"]),
                post["text"],
            )
            for offset, post in entries
        ]

    def extent(self, room: str) -> Extent:
        """Return what is kept of the room; see `RoomLog.extent`."""
        job = _Job(room, ())
        self._run([job])
        epoch, top, _ = job.result()
        return Extent(epoch, 0, top)

    def rooms(self, after: str, limit: int) -> list[str]:
        """Return names of rooms; see `RoomLog.rooms`."""
        raise NotImplementedError

    def trim(self, room: str, keep: int, before: int, limit: int) -> bool:
        """Forget the oldest messages; see `RoomLog.trim`."""
        raise NotImplementedError

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self._client.connection_pool.disconnect()

    # --- calling the server -----------------------------------------------------------------------------------

    def _run(self, jobs: Iterable[_Job]) -> None:
        """Do the jobs in one round, and once more those that need the server to be met anew. Errors are the jobs'."""
        jobs, meet = list(jobs), False
        try:
            self._check_open()
            for _ in range(3):
                if meet:
                    self._meet()
                answers = self._send(jobs, meet)
                undone: list[_Job] = []
                for job, answer in zip(jobs, answers, strict=True):
                    if answer is None or isinstance(answer, NoScriptError):
                        # The room is not there, or the server was restarted: it may be another one, or emptied.
                        undone.append(job)
                    elif isinstance(answer, Exception):
                        job.error = self._explain(answer)
                    else:
                        job.answer = answer
                if not undone:
                    return
                jobs, meet = undone, True
            failure = LogError(f"the room log {self._url} is restarted again and again: see after it")
        except (RedisError, OSError) as error:
            failure = self._explain(error)
        except LogError as error:
            failure = error
        for job in jobs:
            job.error = failure

    def _send(self, jobs: Sequence[_Job], new: bool) -> list[Any]:
        """Return the script's answer, or the error, for each job; with `new`, a room that is not there is made."""
        epoch = secrets.token_hex(4)
        pipeline = self._client.pipeline(transaction=False)
        for job in jobs:
            pipeline.evalsha(self._script, len(job.keys), *job.keys, epoch, "new" if new else "", *job.arguments)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        return answers

    def _check_open(self) -> None:
        if self._closed:
            raise LogError("the room log is closed: the node is stopping")

    # --- the server -------------------------------------------------------------------------------------------

    def _meet(self) -> None:
        """See what server this is and give it the script for this run of it; raises LogError if it is none for us.

        One that is empty gets the identity that this log always had: it was emptied, but is where the nodes meet.
        """
        try:
            # One connection for all of it, which a restart would break: the script is not given to another run.
            with self._client.client() as server:
                info: dict[str, Any] = server.info()
                self._check_server(info)
                if info.get("cluster_enabled") and int(server.cluster("INFO")["cluster_known_nodes"]) > 1:
                    raise self._explain(ResponseError("MOVED"))
                identity = server.get(_IDENTITY)
                if identity is None:  # only then is it written, which a server without memory refuses
                    server.set(_IDENTITY, self.identity or secrets.token_hex(8), nx=True)
                    identity = server.get(_IDENTITY)
                if self.identity not in ("", identity):
                    raise LogError(
                        f"another room log stands at {self._url}: put the old one back, or restart the nodes"
                    )
                if not re.fullmatch("[0-9a-f]{16}", identity):
                    raise LogError(f"{_IDENTITY} in {self._url} is not ours: give --log another database")
                durable, lossy = (_script(run, identity) for run in ("synced", info["run_id"]))
                safe = _is_alone(info) and _is_synced(server) and self._is_rewritten(server, info["run_id"], lossy)
                self._script = server.script_load(durable if safe else lossy)
                self.identity = identity
        except (RedisError, OSError) as error:
            raise self._explain(error) from None

    def _is_rewritten(self, server: Any, run: str, lossy: str) -> bool:
        """Whether the server has rewritten its append-only file in this run; raises LogError if it is about to.

        If it has not, it is told to, once for all nodes. What one node has given up, all give up until the run ends.
        """
        now = time.monotonic()
        if self._patience[0] != run:
            self._patience = (run, now + REWRITE)
        deadline, told = min(now + ANSWER, self._patience[1]), False
        while not server.script_exists(hashlib.sha1(lossy.encode()).hexdigest())[0]:
            state: dict[str, Any] = server.info("persistence")
            if state["aof_last_rewrite_time_sec"] >= 0 and state["aof_last_bgrewrite_status"] == "ok":
                return True
            if not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
                if told:
                    return False  # it may not, or has tried in vain
                told = True
                try:
                    server.bgrewriteaof()
                except ResponseError:
                    pass  # it may not, or another node was quicker: the next look shows which
            elif time.monotonic() > self._patience[1]:
                return False
            elif time.monotonic() > deadline:
                raise LogError(f"the room log {self._url} is rewriting its append-only file; wait until it has")
            else:
                time.sleep(0.01)
        return False

    def _check_server(self, info: dict[str, Any]) -> None:
        version = str(info["redis_version"])
        if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < _OLDEST:
            raise LogError(f"the room log {self._url} is a Redis {version}: it takes 7.0 or newer, or a Valkey")
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory") and policy != "noeviction":
            raise LogError(
                f"the room log {self._url} would throw messages away when its memory is full ({policy}): "
                "set its maxmemory-policy to noeviction"
            )
        if info.get("role") != "master":
            raise LogError(f"the room log {self._url} is a replica: give --log the primary")

    def _explain(self, error: Exception) -> LogError:
        """Return the error that a person can act upon, for what Redis or its library said."""
        text = str(error).partition("\n")[0].rstrip(".")
        names = [kind.__name__ for kind in type(error).__mro__]
        advice = next((do for sign, do in _ADVICE.items() if sign in names or sign in text), "see after the server")
        failed = "does not answer" if type(error) in (redis.ConnectionError, redis.TimeoutError) else "failed"
        return LogError(f"the room log {self._url} {failed} ({text}): {advice}")


def _script(run: str, identity: str) -> str:
    """Return the text of the script for a run of the server."""
    return f"local RUN, LOG = '{run}', '{identity}'{_SCRIPT}"


def _is_alone(info: dict[str, Any]) -> bool:
    """Whether the server has no replica that could take its place, and did not take another's place itself."""
    return not info.get("repl_backlog_active", 1) and not str(info.get("master_replid2", "1")).strip("0")


def _is_synced(server: Any) -> bool:
    """Whether what the server has acknowledged is on its disk, and stays there."""
    wanted = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
    try:
        return bool(server.config_get(*wanted) == wanted)
    except ResponseError:
        return False  # servers for hire do not tell
