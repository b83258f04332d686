"""A room log in Redis or Valkey, shared by nodes on many machines: in one server, or in a Redis Cluster.

This module owns the knowledge which server has which room, and follows the rooms when they move; any thread may call
it. It must never take two servers for one: each has its own run, and a room's epoch is of the run of its server.

redis-py's own client of a cluster is not used, as it sends again by itself what may have been done, and knows nothing
of runs. Slots are looked up once, then patched as servers say that they have moved; when a server does not answer, the
next call asks the others whether one of them has taken its place.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError

from parlour.node.log import Appended, Extent, LogError, Post
from parlour.node.log.redis_job import IDENTITY, Job, key, message_of, read_aside, room_of
from parlour.node.log.redis_server import ANSWER, REWRITE, RedisServer
from parlour.runtime.locks import make_lock
from parlour.wire.limits import sane_time
from parlour.wire.messages import Message

__all__ = ["RedisLog"]


REMEMBERED_ROOMS = 100_000
"""Rooms with records aside that are remembered, at most: others cost a second question each time."""


class RedisLog:
    """The engine behind `redis://HOST:PORT/DB` and, over TLS, `rediss://HOST:PORT/DB`."""

    def __init__(self, url: str, wait: int = 0) -> None:
        """Connect; raises LogError if there is no server to keep a log. `wait` replicas have to have each post."""
        self.identity = ""
        self._wait = wait
        # Guards _servers. Rank 74.
        self._mutex = make_lock(74, "redis log's servers")
        self._servers: dict[str, RedisServer] = {}
        self._listing: list[str] = []
        self._rooms_aside: set[str] = set()  # that are known to have records aside; to ask for these is quicker then
        self._home = self._at(url)
        # Any thread may replace a slot's server: whoever still asks the one of before is told so.
        self._slots = [self._home] * REDIS_CLUSTER_HASH_SLOTS
        try:
            self._clustered = self._home.is_clustered()
            if self._clustered:
                self._look()
            self._server(Job.plain("GET", IDENTITY).slot).meet(REWRITE)
        except BaseException:
            self.close()
            raise

    # --- the contract -----------------------------------------------------------------------------------------

    def append(self, room: str, posts: Sequence[Post]) -> list[Appended]:
        """Log the posts; see `RoomLog.append`."""
        ((epoch, _, _, places),) = self._script(room, Job.append(room, posts))
        appended: list[Appended] = []
        for place in places:
            offset, at, *new = place.split()
            appended.append(Appended(epoch, int(offset), sane_time(int(at)), not new))
        return appended

    def read(self, room: str, after: int, limit: int) -> list[Message]:
        """Return messages after an offset; see `RoomLog.read`."""
        # No transaction, which a server without memory refuses; whose log it was is asked after what was in it. A
        # record may be moved aside meanwhile, so what is aside is asked for after the stream.
        stream = Job.plain("XRANGE", key(room, "log"), after + 1, "+", "COUNT", limit)
        owner = Job.plain("HMGET", key(room, "room"), "log", "aside")
        others = Job.plain("ZRANGEBYSCORE", key(room, "aside"), after + 1, "+inf", "LIMIT", 0, limit)
        known = room in self._rooms_aside
        entries, (identity, aside), *members = self._call(stream, owner, *([others] if known else []))
        if identity is None:
            return []
        if identity != self.identity:
            raise self._home.explain(ResponseError("OTHERLOG the room is of another log"))
        if aside and not known:
            self._remember_aside(room)
            members = self._call(others)
        if members and members[0]:
            # What was moved aside in between is in both.
            both = dict(entries) | dict(map(read_aside, members[0]))
            entries = sorted(both.items(), key=lambda entry: int(entry[0][:-2]))[:limit]
        return [message_of(room, entry, fields) for entry, fields in entries]

    def extent(self, room: str) -> Extent:
        """Return what is kept of the room; see `RoomLog.extent`."""
        ((epoch, trimmed, top, _),) = self._script(room, Job.append(room, ()))
        return Extent(epoch, trimmed, top)

    def now(self) -> int:
        """Return the time of the server that was named; see `RoomLog.now`."""
        return self._home.now()

    def check(self) -> None:
        """Ask every server for a sign of life; see `RoomLog.check`."""
        for server in set(self._slots):
            server.now()

    @property
    def remark(self) -> str:
        """What a crash of the server would lose; see `RoomLog.remark`."""
        return next((server.remark for server in set(self._slots) if server.remark), "")

    def rooms(self, after: str, limit: int) -> list[str]:
        """Return names of rooms; see `RoomLog.rooms`. What follows the first part is of the time of the first.

        To look through 300,000 keys takes half a second, so it is done once for all parts. What is on a server that
        does not answer is left out.
        """
        if not after or not self._listing:
            if self._clustered:
                self._look()
            self._listing = sorted(map(room_of, self._streams()))
        first = bisect_right(self._listing, after)
        return self._listing[first : first + limit]

    def trim(self, room: str, keep: int, before: int, limit: int) -> bool:
        """Forget the oldest messages; see `RoomLog.trim`."""
        (count,) = self._script(room, Job.trim(room, keep, before, limit))
        return bool(count == limit)

    def hasten(self) -> None:
        """Nothing waits longer than the server may take for its answer."""

    def close(self) -> None:
        """Close all connections."""
        with self._mutex:
            servers = list(self._servers.values())
        for server in servers:
            server.close()

    def _streams(self) -> set[str]:
        """Return the names of all streams on the servers that answer; raises LogError if none does."""
        streams: set[str] = set()
        servers, failures = set(self._slots), list[LogError]()
        for server in servers:
            try:
                streams.update(server.streams())
            except LogError as error:
                failures.append(error)
        if len(failures) == len(servers):
            raise failures[0]
        return streams

    def _script(self, room: str, job: Job) -> list[Any]:
        """Return the answer to a script, and remember whether the room has records aside; raises LogError."""
        if room in self._rooms_aside:
            job.widen()
        answer = self._call(job)
        if job.wide:
            self._remember_aside(room)
        return answer

    def _remember_aside(self, room: str) -> None:
        if len(self._rooms_aside) < REMEMBERED_ROOMS:
            self._rooms_aside.add(room)

    # --- where the rooms are ----------------------------------------------------------------------------------

    def _call(self, *jobs: Job) -> list[Any]:
        """Return the answers to jobs about one room, asked where that is, or moves to meanwhile; raises LogError."""
        deadline = time.monotonic() + ANSWER
        server, left = self._server(jobs[0].slot), list(jobs)
        for hop in itertools.count():
            if left[0].posts:
                server.commit(left[0])
            else:
                server.run(left)
            left = [job for job in left if job.moved]
            if not left:
                break
            if hop:
                time.sleep(0.02)  # some keys are here and some there, or the servers do not agree yet
            server = self._follow(left, server, deadline)
        for job in jobs:
            if job.error or (job.script and job.answer is None):
                raise job.error or LogError("the room log did not take the post: try again")
        return [job.answer for job in jobs]

    def _follow(self, jobs: Sequence[Job], server: RedisServer, deadline: float) -> RedisServer:
        """Return the server that has the jobs' room now, or has to be asked as it is getting it; raises LogError."""
        moved = jobs[-1].moved
        assert moved is not None
        if time.monotonic() > deadline:
            raise server.explain(moved)
        for job in jobs:
            job.moved, job.asking = None, not isinstance(moved, MovedError | TryAgainError)
        if not isinstance(moved, AskError):
            return self._server(jobs[0].slot)
        there = self._at(server.peer(moved.host, moved.port))
        if isinstance(moved, MovedError):
            self._slots[moved.slot_id] = there
        return there

    def _server(self, slot: int) -> RedisServer:
        """Return the server that has a slot, as far as is known."""
        lost = self._slots[slot]
        if lost.lost and self._clustered:
            lost.lost = False
            self._look(lost)
        return self._slots[slot]

    def _look(self, lost: RedisServer | None = None) -> None:
        """Learn from the first server that answers which has which slots; the one that was lost is asked last."""
        with self._mutex:
            servers = sorted(self._servers.values(), key=lambda server: server is lost or server.lost)
        for server in servers:
            try:
                for first, last, url in server.slots():
                    self._slots[first : last + 1] = [self._at(url)] * (last + 1 - first)
                return
            except LogError:
                continue

    def _at(self, url: str) -> RedisServer:
        """Return the server at a URL."""
        with self._mutex:
            if url not in self._servers:
                self._servers[url] = RedisServer(url, self._identify, self._wait)
            return self._servers[url]

    def _identify(self, server: Any) -> str:
        """Return the log's identity, through a connection to a server; raises LogError if it is another than before.

        A server that is empty gets the identity that this log always had: it was emptied, but is where the nodes meet.
        """
        ask = server.execute_command
        try:
            try:
                identity = ask("GET", IDENTITY)
            except AskError:  # another server of the cluster has it, for all of them
                ask = self._ask
                identity = ask("GET", IDENTITY)
        except LogError:
            if not self.identity:
                raise
            return self.identity  # that one is away, which must not hold up the others' rooms
        if identity is None:  # only then is it written, which a server without memory refuses
            ask("SET", IDENTITY, self.identity or secrets.token_hex(8), "NX")
            identity = ask("GET", IDENTITY)
        if self.identity not in ("", identity):
            raise LogError(f"another room log stands at {self._home.shown}: put the old one back, or restart the nodes")
        if not re.fullmatch("[0-9a-f]{16}", identity):
            raise LogError(f"{IDENTITY} in {self._home.shown} is not ours: give --log another database")
        self.identity = identity
        return self.identity

    def _ask(self, *command: Any) -> Any:
        """Return the answer to a command on one key, from the server that has it; raises LogError."""
        return self._call(Job.plain(*command))[0]
