"""The room log on every engine, for the tests of its contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from parlour.node.log import RoomLog
from parlour.node.log.opening import open_log
from support.opener import Opener
from support.redis_server import RedisServer, missing, redis_cluster, redis_server

ENGINES = ["memory", "sqlite", "sqlite-full", "redis", "redis-cluster", "valkey"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[RedisServer]]]:
    """Run one Redis server, a cluster of them, and a Valkey server, for all tests here; those that are installed."""
    with ExitStack() as stack:
        running: dict[str, list[RedisServer]] = {}
        if not missing("redis-server"):
            running["redis"] = [stack.enter_context(redis_server(tmp_path_factory.mktemp("redis")))]
            running["redis-cluster"] = stack.enter_context(redis_cluster(tmp_path_factory.mktemp("cluster")))
        if not missing("valkey-server"):
            valkey = redis_server(tmp_path_factory.mktemp("valkey"), program="valkey-server")
            running["valkey"] = [stack.enter_context(valkey)]
        yield running


@pytest.fixture(params=ENGINES)
def opener(request: pytest.FixtureRequest, tmp_path: Path, servers: dict[str, list[RedisServer]]) -> Iterator[Opener]:
    """Give a way to open one log several times; close all that were opened."""
    opened: list[RoomLog] = []
    program = {"redis": "redis-server", "redis-cluster": "redis-server", "valkey": "valkey-server"}.get(request.param)
    if program and missing(program):
        pytest.skip(missing(program))
    for server in servers.get(request.param, []):
        with server.client() as client:
            client.flushall()
    urls = {
        "memory": f"memory://{tmp_path}",
        "sqlite": f"sqlite://{tmp_path}/log.sqlite",
        "sqlite-full": f"sqlite://{tmp_path}/log.sqlite?sync=full",
        **{name: running[0].url for name, running in servers.items()},
    }

    def again() -> RoomLog:
        opened.append(open_log(urls[request.param]))
        return opened[-1]

    yield again
    for log in opened:
        log.close()
