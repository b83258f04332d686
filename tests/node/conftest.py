"""The room log on every engine, for the tests of its contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parlour.node.log import RoomLog
from parlour.node.log.opening import open_log
from support.engines import ENGINES, Servers, engine_servers, engine_url
from support.opener import Opener

ALL = [*ENGINES, "valkey"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run one Redis server, a cluster of them, and a Valkey server, for all tests here; those that are installed."""
    with engine_servers(tmp_path_factory, ALL) as running:
        yield running


@pytest.fixture(params=ALL)
def opener(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[Opener]:
    """Give a way to open one log several times; close all that were opened."""
    opened: list[RoomLog] = []
    url = engine_url(request.param, tmp_path, servers)

    def again() -> RoomLog:
        opened.append(open_log(url))
        return opened[-1]

    yield again
    for log in opened:
        log.close()
