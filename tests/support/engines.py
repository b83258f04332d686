"""The engines of the log and the directory, for the tests that run on each: their servers, and URLs of empty stores.

This module owns the names of the engines; a fixture of a module runs the servers for all its tests. It must never give
a store that has something of an earlier test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.redis_server import RedisServer, missing, redis_cluster, redis_server

__all__ = ["ENGINES", "Servers", "engine_servers", "engine_url"]

ENGINES = ["memory", "sqlite", "sqlite-full", "redis", "redis-cluster"]
"""The engines that every machine with Redis has; a test names them as parameters."""

_PROGRAMS = {"redis": "redis-server", "redis-cluster": "redis-server", "valkey": "valkey-server"}

Servers = dict[str, list[RedisServer]]
"""The running servers of each engine that needs some."""


@contextmanager
def engine_servers(factory: pytest.TempPathFactory, engines: Sequence[str]) -> Iterator[Servers]:
    """Run the servers of those of these engines that are installed."""
    with ExitStack() as stack:
        running: Servers = {}
        for engine in engines:
            program = _PROGRAMS.get(engine)
            if program is None or missing(program):
                continue
            folder = factory.mktemp(engine)
            if engine == "redis-cluster":
                running[engine] = stack.enter_context(redis_cluster(folder))
            else:
                running[engine] = [stack.enter_context(redis_server(folder, program=program))]
        yield running


def engine_url(engine: str, folder: Path, servers: Servers) -> str:
    """Return the URL of an empty store of an engine; skip the test if the engine is not installed."""
    program = _PROGRAMS.get(engine)
    if program and (lacking := missing(program)):
        pytest.skip(lacking)
    for server in servers.get(engine, []):
        with server.client() as client:
            client.flushall()
    urls = {
        "memory": f"memory://{folder}",
        "sqlite": f"sqlite://{folder}/log.sqlite",
        "sqlite-full": f"sqlite://{folder}/log.sqlite?sync=full",
        **{name: running[0].url for name, running in servers.items()},
    }
    return urls[engine]
