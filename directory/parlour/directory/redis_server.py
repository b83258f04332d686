"""One Redis or Valkey server that keeps documents: a single server, or one of a Redis Cluster.

This module owns the connections to a server and the script that changes a document; any thread may call it. It must
never wait longer than its timeouts, nor show the password of the URL.

A server with `appendfsync always` rewrites its append-only file once in each run before it changes a document. The
reason: Redis 7.0, killed in the middle of a write, leaves the beginning of a transaction of the room log in the file
and appends further commands to it, and the next start reads all of them as one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import (
    AskError,
    ClusterDownError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as BrokenError
from redis.exceptions import TimeoutError as NoAnswerError

from parlour.directory.store import DirectoryError
from parlour.runtime.redis_client import ANSWER, REPLICATED, describe_error, peer_url, redis_client, shown_url

__all__ = ["DELETED", "HEAD", "VERSION", "DirectoryServer"]

CONNECTIONS = 8
"""Most connections of a process to the server."""

PAUSE = 1.0
"""Pause before a server that did not answer in time is asked again, in seconds; threads would wait for it in vain."""

VERSION, HEAD = 16, 32
"""Bytes of a stored value: the version; the version and the time at which the document ends, in 16 digits."""

DELETED = f"{1:016}"
"""The time at which a deleted document has ended."""

_CHANGE = f"""
local head = redis.call('GETRANGE', KEYS[1], 0, {HEAD - 1})
local version, ends = string.sub(head, 1, {VERSION}), string.sub(head, {VERSION + 1})
if version == ARGV[1] then return 1 end -- this writer's change, repeated because its answer was lost
if ends == '{DELETED}' then version = '' end
if version ~= ARGV[2] then return 0 end
local value = ARGV[1] .. ARGV[3] .. ARGV[4]
if ARGV[3] == '{DELETED}' then
    redis.call('SET', KEYS[1], value, 'PX', 60000)
elseif tonumber(ARGV[3]) > 0 then
    redis.call('SET', KEYS[1], value, 'PXAT', string.format('%.0f', tonumber(ARGV[3])))
else
    redis.call('SET', KEYS[1], value)
end
return 1
"""
"""Change a document if its version is the expected one. Arguments: the new version, the expected one, the time at which
the document ends, its value."""


class DirectoryServer:
    """The server at a URL.

    Attributes:
        lost: whether it did not answer, and no call has looked for a successor yet.
    """

    def __init__(self, url: str, wait: int) -> None:
        """Connect on demand only. A change counts when `wait` replicas have it."""
        self.url = url
        self.lost = False
        self._shown = shown_url(url)
        self._wait = wait
        self._client: Any = redis_client(url, CONNECTIONS, text=False)
        self._closed = False
        # The error of a stuck server, and the time until which no thread asks it. Any thread replaces both.
        self._stuck: tuple[DirectoryError | None, float] = (None, 0.0)
        self._script = ""

    def ask(self, command: Sequence[Any], asking: bool = False) -> Any:
        """Return the answer to one command; raises DirectoryError, or AskError if the server lacks the key."""
        return self._checked(self._send([command], asking)[0])

    def ask_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the answer or the error of the server to each of the commands; raises DirectoryError."""
        return self._send(commands, asking=False)

    def change(self, key: str, arguments: Sequence[Any], asking: bool = False) -> bool:
        """Change a document, see `_CHANGE`; raises what `ask` raises."""
        for _ in range(3):
            if not self._script:
                self._meet()
            commands: list[Sequence[Any]] = [("EVALSHA", self._script, 1, key, *arguments)]
            if self._wait:
                commands.append(("WAIT", self._wait, int(1000 * REPLICATED)))
            answer, *replicas = self._send(commands, asking)
            if isinstance(answer, NoScriptError):  # the server was restarted, replaced or emptied
                self._script = ""
                continue
            if self._checked(answer) and replicas and (self._checked(replicas[0]) < self._wait):
                raise self.explain(ResponseError(f"NOREPLICAS {replicas[0]} of {self._wait} replicas have the change"))
            return bool(answer)
        raise DirectoryError(f"the directory in {self._shown} is restarted again and again: see after it")

    def peer(self, host: bytes | str | None, port: int) -> str:
        """Return the URL of another server of the cluster; without a host, it is on the host of this one."""
        return peer_url(self.url, host.decode() if isinstance(host, bytes) else host, port)

    def explain(self, error: Exception) -> DirectoryError:
        """Return an error that says what to do, for an error of Redis or of its library."""
        self.lost = self.lost or isinstance(error, BrokenError | NoAnswerError | ClusterDownError)
        failure = DirectoryError(f"the directory in {self._shown} {describe_error(error)}")
        if isinstance(error, NoAnswerError):
            self._stuck = (failure, time.monotonic() + PAUSE)
        return failure

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self._client.connection_pool.disconnect()

    def _send(self, commands: Sequence[Sequence[Any]], asking: bool) -> list[Any]:
        """Return the answer or error to each command. If the connection breaks, send them once more over another.

        This is safe: the commands only read, or change a document in the same way however often they are sent.
        """
        for attempt in (1, 2):
            if self._closed:
                raise DirectoryError("the directory is closed: the node is stopping")
            failure, until = self._stuck
            if failure is not None and time.monotonic() < until:
                raise failure
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                if asking:
                    pipeline.execute_command("ASKING")
                pipeline.execute_command(*command)
            try:
                answers: list[Any] = pipeline.execute(raise_on_error=False)
            except (RedisError, OSError) as error:
                if type(error) is BrokenError and attempt == 1:
                    continue
                raise self.explain(error) from None
            self._stuck = (None, 0.0)
            return answers[1::2] if asking else answers
        raise AssertionError("the second attempt returns or raises")

    def _checked(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer if isinstance(answer, AskError) else self.explain(answer)
        return answer

    def _meet(self) -> None:
        """Load the script for the server's run; raises DirectoryError while the append-only file must be rewritten."""
        try:
            # One connection for all commands: a restart breaks it, so that no other run gets the script.
            with self._client.client() as server:
                if _is_synced(server) and not _is_rewritten(server):
                    raise DirectoryError(
                        f"the directory in {self._shown} is rewriting its append-only file; wait until it has"
                    )
                self._script = server.script_load(_CHANGE)
        except (RedisError, OSError) as error:
            raise self.explain(error) from None


def _is_synced(server: Any) -> bool:
    """Return whether the server syncs what it acknowledges to its disk."""
    wanted = {"appendonly": "yes", "appendfsync": "always"}
    try:
        found = server.config_get(*wanted)
    except ResponseError:
        return False  # hosted servers often forbid CONFIG
    return bool({_text(name): _text(value) for name, value in found.items()} == wanted)


def _is_rewritten(server: Any) -> bool:
    """Return whether the server has rewritten its append-only file in this run, or cannot; wait a moment for it."""
    deadline, told = time.monotonic() + ANSWER, False
    while time.monotonic() < deadline:
        state: dict[str, Any] = server.info("persistence")
        if state["aof_last_rewrite_time_sec"] >= 0 and _text(state["aof_last_bgrewrite_status"]) == "ok":
            return True
        if not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
            if told:
                return True  # the user may not ask for it, or it has failed: go on as the room log does
            told = True
            try:
                server.bgrewriteaof()
            except ResponseError:
                pass  # the user may not, or a node was faster: the next look shows which
        else:
            time.sleep(0.01)
    return False


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
