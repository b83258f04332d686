"""A room log in Redis or Valkey, shared by nodes on many machines: in one server, or in a Redis Cluster.

This module owns the map from hash slots to servers, and follows rooms that move; any thread may call it. It must never
confuse two servers: each has its own run, and the epoch of a room belongs to the run of its server.

parlour does not use redis-py's cluster client, which repeats commands that may have been done, and does not know runs.
It looks the slots up once, and corrects the map when a server answers that a slot has moved. When a server does not
answer, the next call asks the others whether one of them has taken its place.
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

from parlour.node.log import Appended, Extent, LogError, Post, StaleStateError, StateVersion
from parlour.node.log.redis_job import IDENTITY, Job, key, message_of, read_aside, read_state, room_of
from parlour.node.log.redis_server import REWRITE, RedisServer
from parlour.runtime.locks import make_lock
from parlour.runtime.redis_client import ANSWER
from parlour.wire.limits import sane_time
from parlour.wire.messages import Message

__all__ = ["RedisLog"]


REMEMBERED_ROOMS = 100_000
"""Most rooms that are remembered to have records aside; each call about another one costs a second question."""


class RedisLog:
    """The engine behind `redis://HOST:PORT/DB` and, over TLS, `rediss://HOST:PORT/DB`."""

    def __init__(self, url: str, wait: int = 0) -> None:
        """Connect; raises LogError if no usable server answers. A post is logged when `wait` replicas have it."""
        self.identity = ""
        self._wait = wait
        # Guards _servers. Rank 74.
        self._mutex = make_lock(74, "redis log's servers")
        self._servers: dict[str, RedisServer] = {}
        self._listing: list[str] = []
        self._rooms_aside: set[str] = set()  # rooms known to have records aside: one question is enough
        self._home = self._at(url)
        # Any thread may replace a slot's server. A thread that still asks the old one gets a MOVED error.
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

    def append(
        self, room: str, posts: Sequence[Post], checked: StateVersion | None = None, state: bytes = b""
    ) -> list[Appended]:
        """Log the posts; see `RoomLog.append`."""
        ((epoch, _, _, places, *stale),) = self._script(room, Job.append(room, posts, checked, state))
        if stale:
            raise StaleStateError(StateVersion(epoch, int(stale[0])), read_state(stale[1]))
        appended: list[Appended] = []
        for place in places:
            offset, at, *new = place.split()
            appended.append(Appended(epoch, int(offset), sane_time(int(at)), not new))
        return appended

    def read(self, room: str, after: int, limit: int) -> list[Message]:
        """Return messages after an offset; see `RoomLog.read`."""
        # A server without free memory refuses transactions, so this is a pipeline. The order matters: the owner after
        # the entries, so that they are known to be this log's; the records aside last, since a deletion may move
        # records from the stream to there meanwhile.
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
            # A record that was moved in between is in both.
            both = dict(entries) | dict(map(read_aside, members[0]))
            entries = sorted(both.items(), key=lambda entry: int(entry[0][:-2]))[:limit]
        return [message_of(room, entry, fields) for entry, fields in entries]

    def extent(self, room: str) -> Extent:
        """Return which offsets the room keeps; see `RoomLog.extent`."""
        ((epoch, trimmed, top, _),) = self._script(room, Job.append(room, ()))
        return Extent(epoch, trimmed, top)

    def state(self, room: str) -> tuple[int, bytes]:
        """Return the room's state; see `RoomLog.state`."""
        ((identity, version, state),) = self._call(Job.plain("HMGET", key(room, "room"), "log", "version", "state"))
        if identity not in (None, self.identity):
            raise self._home.explain(ResponseError("OTHERLOG the room is of another log"))
        return int(version or 0), read_state(state or "")

    def now(self) -> int:
        """Return the time of the server in the log's URL; see `RoomLog.now`."""
        return self._home.now()

    def check(self) -> None:
        """Ask each server for its time; see `RoomLog.check`."""
        for server in set(self._slots):
            server.now()

    @property
    def remark(self) -> str:
        """What a crash of a server would lose; see `RoomLog.remark`."""
        return next((server.remark for server in set(self._slots) if server.remark), "")

    def rooms(self, after: str, limit: int) -> list[str]:
        """Return names of rooms; see `RoomLog.rooms`. Later pages come from the snapshot of the first page.

        A scan of 300,000 keys takes half a second, so one scan serves all pages. Rooms on a server that does not answer
        are missing.
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
        """Do nothing: no call waits longer than a server may take to answer."""

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
        """Do jobs about one room on the server that has it, following the room if it moves; raises LogError."""
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
                time.sleep(0.02)  # the room's keys are on two servers, or the servers do not agree yet
            server = self._follow(left, server, deadline)
        for job in jobs:
            if job.error or (job.script and job.answer is None):
                raise job.error or LogError("the room log did not take the post: try again")
        return [job.answer for job in jobs]

    def _follow(self, jobs: Sequence[Job], server: RedisServer, deadline: float) -> RedisServer:
        """Return the server that has the jobs' room now, or is just receiving it; raises LogError."""
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
        """Return the server that has a slot, by the map."""
        lost = self._slots[slot]
        if lost.lost and self._clustered:
            lost.lost = False
            self._look(lost)
        return self._slots[slot]

    def _look(self, lost: RedisServer | None = None) -> None:
        """Get the map of slots from the first server that answers; lost servers are asked last."""
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
        """Return the log's identity, read through a connection to a server; raises LogError if it has changed.

        An empty server gets the identity that this node remembers: somebody emptied it, but the nodes still share it.
        """
        ask = server.execute_command
        try:
            try:
                identity = ask("GET", IDENTITY)
            except AskError:  # the key is on another server of the cluster
                ask = self._ask
                identity = ask("GET", IDENTITY)
        except LogError:
            if not self.identity:
                raise
            return self.identity  # the server with the key is away; rooms on other servers go on
        if identity is None:  # write only if it is missing: a server without free memory refuses writes
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
