"""The directory on every engine, for the tests of its contract and of the policy on top."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from parlour.directory.opening import open_store
from parlour.directory.store import Store
from support.opener import StoreOpener
from support.redis_server import MISSING, RedisServer, redis_cluster, redis_server

ENGINES = ["memory", "sqlite", "sqlite-full", "redis", "redis-cluster"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[RedisServer]]]:
    """Run one Redis server and a cluster of them for all tests that kill none."""
    with ExitStack() as stack:
        running: dict[str, list[RedisServer]] = {}
        if not MISSING:
            running["redis"] = [stack.enter_context(redis_server(tmp_path_factory.mktemp("redis")))]
            running["redis-cluster"] = stack.enter_context(redis_cluster(tmp_path_factory.mktemp("cluster")))
        yield running


@pytest.fixture
def opener(engine: str, tmp_path: Path, servers: dict[str, list[RedisServer]]) -> Iterator[StoreOpener]:
    """Give a way to open one store several times; close all that were opened."""
    opened: list[Store] = []
    if engine.startswith("redis") and MISSING:
        pytest.skip(MISSING)
    for server in servers.get(engine, []):
        with server.client() as client:
            client.flushall()
    urls = {
        "memory": f"memory://{tmp_path}",
        "sqlite": f"sqlite://{tmp_path}/log.sqlite",
        "sqlite-full": f"sqlite://{tmp_path}/log.sqlite?sync=full",
        **{name: running[0].url for name, running in servers.items()},
    }

    def again() -> Store:
        opened.append(open_store(urls[engine]))
        return opened[-1]

    yield again
    for store in opened:
        store.close()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Name each engine in turn."""
    return str(request.param)
