"""The directory on every engine, for the tests of its contract and of the policy on top."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parlour.directory.opening import open_store
from parlour.directory.store import Store
from support.engines import ENGINES, Servers, engine_servers, engine_url
from support.opener import StoreOpener


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run one Redis server and a cluster of them for all tests that kill none."""
    with engine_servers(tmp_path_factory, ENGINES) as running:
        yield running


@pytest.fixture
def opener(engine: str, tmp_path: Path, servers: Servers) -> Iterator[StoreOpener]:
    """Give a way to open one store several times; close all that were opened."""
    opened: list[Store] = []
    url = engine_url(engine, tmp_path, servers)

    def again() -> Store:
        opened.append(open_store(url))
        return opened[-1]

    yield again
    for store in opened:
        store.close()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Name each engine in turn."""
    return str(request.param)
