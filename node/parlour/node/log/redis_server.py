"""One Redis or Valkey server that keeps rooms: a single server, or one of a Redis Cluster.

This module owns the connections to a server and the check that it is fit to keep a log; any thread may call it. Appends
that wait at the same time go out together. It must never repeat a command that may have been done, wait longer than its
timeouts, nor show the password of the URL.

A single server with `appendfsync always` rewrites its append-only file once in each run before parlour logs anything in
it. The reason: Redis 7.0, killed in the middle of a write, leaves the beginning of a transaction in the file and
appends further commands to it, and the next start reads both as one transaction.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis
from redis.exceptions import AskError, ClusterDownError, NoScriptError, RedisError, ResponseError, TryAgainError

from parlour.node.log import LogError
from parlour.node.log.redis_job import PATTERN, Job
from parlour.node.log.redis_script import SYNCED, scripts
from parlour.runtime.locks import make_lock
from parlour.runtime.redis_client import ANSWER, REPLICATED, describe_error, peer_url, redis_client, shown_url

__all__ = ["REWRITE", "RedisServer"]

REWRITE = 60.0
"""Longest time that posts are refused while a server rewrites its append-only file after its start, in seconds."""

PAUSE = 1.0
"""Pause before a server that did not answer in time is asked again, by one thread for all, in seconds.

Threads that wait for a stuck server cannot do other work.
"""

CONNECTIONS = 16
"""Most connections of a node to the server: one writes, the others read."""

_OLDEST = (7, 0)  # older servers replicate and save scripts, so that a script would survive its run


class RedisServer:
    """The server at a URL; `identify` reads the log's identity through a connection to it, and makes a missing one."""

    def __init__(self, url: str, identify: Callable[[Any], str], wait: int) -> None:
        """Connect on demand only. A post counts as logged when `wait` replicas have it."""
        self.url = url
        self.shown = shown_url(url)
        self.client: Any = redis_client(url, CONNECTIONS, text=True)
        self.remark = ""  # what a crash of the server would lose, if more than the last moment
        self.lost = False  # it did not answer, and no call has looked for a successor yet
        self._identify = identify
        self._wait = wait
        # Guards _waiting. Rank 72.
        self._mutex = make_lock(72, "redis log's queue")
        # Guards the turn to send all waiting jobs. Rank 60.
        self._writing = make_lock(60, "redis log's writer")
        self._waiting: list[Job] = []
        self._closed = False
        # The error of a stuck server, and the time until which no thread asks it.
        self._stuck: tuple[LogError | None, float] = (None, 0.0)
        # Any thread that meets the server replaces both. A thread that calls an old script gets a NOSCRIPT error.
        self._scripts: dict[str, str] = {}
        self._patience = ("", 0.0)  # the line whose rewrite is awaited, and the deadline

    def commit(self, job: Job) -> None:
        """Do the job together with all waiting jobs: the first thread to get the turn sends for all."""
        failure, until = self._stuck
        if time.monotonic() < until:
            job.error = failure
            return
        with self._mutex:
            self._waiting.append(job)
        with self._writing:
            if not job.done:
                with self._mutex:
                    jobs, self._waiting = self._waiting, []
                self.run(jobs)

    def run(self, jobs: Iterable[Job]) -> None:
        """Do the jobs in one round trip, and repeat those that need new scripts. Errors are noted in the jobs."""
        jobs, meet = list(jobs), False
        try:
            for _ in range(3):
                self._check_open()
                if meet:
                    self.meet(ANSWER)
                undone: list[Job] = []
                answers = self._send(jobs, meet)
                self._stuck = (None, 0.0)
                for job, answer in zip(jobs, answers, strict=True):
                    if isinstance(answer, NoScriptError) or (answer is None and job.script):
                        # The room does not exist, or the server was restarted, replaced or emptied.
                        undone.append(job)
                    elif isinstance(answer, ResponseError) and str(answer).startswith("ASIDE"):
                        job.widen()
                        undone.append(job)
                    elif isinstance(answer, AskError | TryAgainError):
                        job.moved = answer
                    elif isinstance(answer, Exception):
                        job.error = self.explain(answer)
                    else:
                        job.answer = answer
                if not undone:
                    return
                jobs, meet = undone, True
            failure = LogError(f"the room log {self.shown} is restarted again and again: see after it")
        except (RedisError, OSError) as error:
            failure = self.explain(error)
        except LogError as error:
            failure = error
        for job in jobs:
            job.error = failure

    def _send(self, jobs: Sequence[Job], new: bool) -> list[Any]:
        """Return the answer or the error of each job; `new` makes rooms that do not exist."""
        epoch, wait = secrets.token_hex(4), self._wait if any(job.posts for job in jobs) else 0
        commands: list[Sequence[Any]] = []
        for job in jobs:
            if job.asking:
                commands.append(("ASKING",))
            if job.script:
                script = self._scripts.get(job.script, "")
                begin = ("EVALSHA", script, len(job.keys), *job.keys, epoch, "new" if new else "")
                commands.append((*begin, *job.command))
            else:
                commands.append(job.command)
        if wait:
            commands.append(("WAIT", wait, int(1000 * REPLICATED)))
        pipeline = self.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        said: list[Any] = pipeline.execute(raise_on_error=False)
        answers = [
            answer for command, answer in zip(commands, said, strict=True) if command[0] not in ("ASKING", "WAIT")
        ]
        if wait and not (isinstance(said[-1], int) and said[-1] >= wait):
            missing = (
                said[-1]
                if isinstance(said[-1], Exception)
                else ResponseError(f"NOREPLICAS {said[-1]} of {wait} replicas have the post")
            )
            answers = [
                missing if job.posts and isinstance(answer, list) else answer
                for job, answer in zip(jobs, answers, strict=True)
            ]
        return answers

    def meet(self, patience: float) -> None:
        """Check that the server can keep the log, and load the scripts for its run; raises LogError if it cannot.

        If the server must first rewrite its append-only file, wait for that at most `patience` seconds.
        """
        try:
            # One connection for all commands: a restart breaks it, so that no other run gets these scripts.
            with self.client.client() as server:
                info: dict[str, Any] = server.info()
                self._check_kind(info)
                identity = self._identify(server)
                line = info["master_replid"]
                synced, lossy = (scripts(run, line, identity) for run in (SYNCED, line))
                safe = _is_alone(info) and _is_synced(server)
                safe = safe and self._is_rewritten(server, line, lossy["append"], patience)
                texts = synced if safe else lossy
                self.remark = self._kept(server, info)
                self._scripts = {name: server.script_load(text) for name, text in texts.items()}
        except (RedisError, OSError) as error:
            raise self.explain(error) from None

    def now(self) -> int:
        """Return the server's time, in ms since the Unix epoch; raises LogError."""
        seconds, micros = self._ask(self.client.time)
        return int(seconds) * 1000 + int(micros) // 1000

    def is_clustered(self) -> bool:
        """Return whether the server is one of a Redis Cluster; raises LogError."""
        return bool(self._ask(self.client.info, "cluster").get("cluster_enabled"))

    def slots(self) -> list[tuple[int, int, str]]:
        """Return the ranges of hash slots: first slot, last slot, and the URL of the server that has them."""
        said = self._ask(self.client.cluster, "SLOTS")
        return [(first, last, self.peer(host, port)) for first, last, (host, port, *_), *_ in said]

    def streams(self) -> list[str]:
        """Return the names of all streams on the server."""
        return list(self._ask(lambda: list(self.client.scan_iter(PATTERN, 1000, "STREAM"))))

    def peer(self, host: str | None, port: int) -> str:
        """Return the URL of another server of the cluster; without a host, it is on the host of this one."""
        return peer_url(self.url, host, port)

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self.client.connection_pool.disconnect()

    def explain(self, error: Exception) -> LogError:
        """Return an error that says what to do, for an error of Redis or of its library."""
        self.lost = self.lost or isinstance(error, redis.ConnectionError | redis.TimeoutError | ClusterDownError)
        failure = LogError(f"the room log {self.shown} {describe_error(error)}")
        stuck = isinstance(error, redis.TimeoutError)
        self._stuck = (failure, time.monotonic() + PAUSE) if stuck else (None, 0.0)
        return failure

    def _ask(self, command: Callable[..., Any], *arguments: Any) -> Any:
        """Return what the server answers; raises LogError."""
        self._check_open()
        try:
            answer = command(*arguments)
        except (RedisError, OSError) as error:
            raise self.explain(error) from None
        self._stuck = (None, 0.0)
        return answer

    def _check_open(self) -> None:
        """Raise LogError if the log is closed, or a pause after a time-out has not ended."""
        if self._closed:
            raise LogError("the room log is closed: the node is stopping")
        failure, until = self._stuck
        if failure is not None:
            now = time.monotonic()
            if now < until:
                raise failure
            self._stuck = (failure, now + ANSWER)

    def _check_kind(self, info: dict[str, Any]) -> None:
        version = str(info["redis_version"])
        if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < _OLDEST:
            raise LogError(f"the room log {self.shown} is a Redis {version}: it takes 7.0 or newer, or a Valkey")
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory") and policy != "noeviction":
            raise LogError(
                f"the room log {self.shown} would throw messages away when its memory is full ({policy}): "
                "set its maxmemory-policy to noeviction"
            )
        if info.get("role") != "master":
            raise LogError(f"the room log {self.shown} is a replica: give --log the primary")

    def _kept(self, server: Any, info: dict[str, Any]) -> str:
        """Return what a crash would lose, if more than the last moment; "" if the server does not tell its settings."""
        if info.get("aof_enabled", 1):
            return ""
        try:
            snapshots = server.config_get("save").get("save", "")
        except ResponseError:
            return ""  # hosted servers often forbid CONFIG
        lost = "all since its last snapshot" if snapshots else "everything, as it writes nothing to its disk"
        return f"the room log {self.shown} would lose {lost} if it crashed: set its appendonly to yes"

    def _is_rewritten(self, server: Any, line: str, lossy: str, patience: float) -> bool:
        """Return whether the server has rewritten its append-only file in this run; raises LogError while it does.

        Asks for the rewrite if none has run, once for all nodes. If one node gives up, all do so until the run ends.
        """
        now = time.monotonic()
        if self._patience[0] != line:
            self._patience = (line, now + REWRITE)
        deadline, told = now + patience, False
        while not server.script_exists(hashlib.sha1(lossy.encode()).hexdigest())[0]:
            state: dict[str, Any] = server.info("persistence")
            if state["aof_last_rewrite_time_sec"] >= 0 and state["aof_last_bgrewrite_status"] == "ok":
                return True
            if not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
                if told:
                    return False  # the user may not ask for it, or it has failed
                told = True
                try:
                    server.bgrewriteaof()
                except ResponseError:
                    pass  # the user may not, or another node was faster: the next look shows which
            elif time.monotonic() > self._patience[1]:
                return False
            elif time.monotonic() > deadline:
                raise LogError(f"the room log {self.shown} is rewriting its append-only file; wait until it has")
            else:
                time.sleep(0.01)
        return False


def _is_alone(info: dict[str, Any]) -> bool:
    """Return whether the server never had a replica in this run, and was not itself a promoted replica."""
    return not info.get("repl_backlog_active", 1) and not str(info.get("master_replid2", "1")).strip("0")


def _is_synced(server: Any) -> bool:
    """Return whether everything that the server acknowledges is synced to its disk."""
    wanted = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
    try:
        return bool(server.config_get(*wanted) == wanted)
    except ResponseError:
        return False  # hosted servers often forbid CONFIG
