"""Clients of one Redis or Valkey server: how parlour connects, and what it advises when a server fails.

This module owns the timeouts; any thread may call it. A client must never repeat a command by itself, nor an error show
the password of a URL.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ["ANSWER", "REPLICATED", "describe_error", "peer_url", "redis_client", "shown_url"]

CONNECT = 1.0
"""Longest wait for a connection to the server, in seconds."""

ANSWER = 2.0
"""Longest wait for one answer of the server, and for a free connection, in seconds."""

REPLICATED = 1.0
"""Longest wait for the replicas that must have a change, in seconds."""

_ADVICE = {
    "AuthenticationError": "check the user and password in its URL",
    "AuthorizationError": "check the user and password in its URL",
    "NoPermissionError": "allow its user all commands on parlour:*, INFO and SCRIPT LOAD",
    "BusyLoadingError": "it is reading its data from disk; wait until it has",
    "TimeoutError": "it is stuck or out of reach; see after it and the network",
    "ConnectionError": "see whether it runs and can be reached from here",
    "OutOfMemoryError": "its memory is full; raise maxmemory or make room",
    "ReadOnlyError": "it is a replica; give --log the primary",
    "ClusterDownError": "a server of its cluster is missing; bring it back, or let the others go on without it "
    "(cluster-require-full-coverage no)",
    "AskError": "its slots are moved to and fro; see after its cluster",
    "TryAgainError": "some of its slots are being moved to another server; wait until they have",
    "WRONGTYPE": "another program keeps keys under these names; give --log another database",
    "OTHERLOG": "put the server's parlour:identity back, or give --log another database",
    "MISCONF": "it cannot write to its disk; make room there",
    "NOREPLICAS": "too few of its replicas are there; see after them",
    "DB index": "give --log a lower number",
    "cluster mode": "a Redis Cluster has no database but 0; give --log that",
}
"""The advice for an error, by its class or by a word of its text."""


def redis_client(url: str, connections: int, text: bool) -> Any:
    """Return a client with at most this many connections, which connects on demand; answers are text or bytes.

    Its type is Any: redis-py's types cover its asynchronous client as well, and do not fit a synchronous one.
    """
    secure = {"ssl_check_hostname": True} if urlsplit(url).scheme == "rediss" else {}
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=ANSWER,
        socket_connect_timeout=CONNECT,
        socket_timeout=ANSWER,
        retry=Retry(NoBackoff(), 0),
        decode_responses=text,
        protocol=2,
        **secure,
    )
    return redis.Redis(connection_pool=pool)


def shown_url(url: str) -> str:
    """Return the URL without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def peer_url(url: str, host: str | None, port: int) -> str:
    """Return the URL of another server of the same cluster; without a host, it is on the host of this one."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    host = host or parts.hostname or ""
    return parts._replace(netloc=f"{user}{at}{f'[{host}]' if ':' in host else host}:{port}").geturl()


def describe_error(error: Exception) -> str:
    """Return what happened and what to do, for an error of Redis or of its library: "failed (…): …"."""
    text = str(error).partition("\n")[0].rstrip(".")
    names = [kind.__name__ for kind in type(error).__mro__]
    advice = next((do for sign, do in _ADVICE.items() if sign in names or sign in text), "see after the server")
    failed = "does not answer" if type(error) in (redis.ConnectionError, redis.TimeoutError) else "failed"
    return f"{failed} ({text}): {advice}"
