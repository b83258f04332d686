"""What replicas can do to the room log of a Redis server, and what they are good for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import astuple

from parlour.node.log import LogError, Post
from parlour.node.log.opening import open_log
from support.redis_server import MISSING, SYNCED, RedisServer, redis_server
from support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def post(number: int) -> Post:
    """Return a post of ada's."""
    return Post("s", number, "ada", 1_700_000_000_000 + number, "hello")


def follow(replica: RedisServer, primary: RedisServer) -> None:
    """Make the one the replica of the other, and return when it has all that the other has."""
    with replica.client() as client, primary.client() as other:
        client.replicaof("127.0.0.1", primary.port)
        eventually(lambda: client.info("replication").get("master_link_status") == "up", what="the replica is there")
        eventually(
            lambda: any(
                value["state"] == "online"
                for name, value in other.info("replication").items()
                if name.startswith("slave") and isinstance(value, dict)
            )
        )


def lead(server: RedisServer) -> None:
    """Make it a primary."""
    with server.client() as client:
        client.replicaof("NO", "ONE")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Run a server, and a replica of it."""
    folders = tmp_path / "primary", tmp_path / "replica"
    for folder in folders:
        folder.mkdir()
    options = (*SYNCED, "--repl-diskless-sync-delay", "0")
    with redis_server(folders[0], *options) as primary, redis_server(folders[1], *options) as replica:
        follow(replica, primary)
        yield primary, replica


def test_a_promoted_replica_begins_a_new_epoch(pair: tuple[RedisServer, RedisServer]) -> None:
    """It may lack the last posts, so what the server was alone does not count."""
    primary, replica = pair
    with closing(open_log(primary.url)) as log:
        (first,) = log.append("lobby", [post(1)])
    with replica.client() as client:
        eventually(lambda: client.exists("parlour:{lobby}:log"), what="the replica has the post")
    with pytest.raises(LogError, match="is a replica: give --log the primary"):
        open_log(replica.url)
    primary.kill()
    lead(replica)
    with closing(open_log(replica.url)) as promoted:
        assert promoted.identity == log.identity
        (second,) = promoted.append("lobby", [post(2)])
        assert second.offset == 2
        assert second.epoch != first.epoch


def test_a_server_that_was_a_replica_meanwhile_begins_a_new_epoch(pair: tuple[RedisServer, RedisServer]) -> None:
    """The same process, which was never restarted, lost what the other did not have: nobody had asked it meanwhile."""
    primary, replica = pair
    with closing(open_log(primary.url)) as log:
        (first,) = log.append("lobby", [post(1)])
        with replica.client() as client:
            eventually(lambda: client.exists("parlour:{lobby}:log"), what="the replica has the post")
        lead(replica)
        (lost,) = log.append("lobby", [post(2)])
        assert astuple(lost)[:2] == (first.epoch, 2)
        follow(primary, replica)
        lead(primary)
        (second,) = log.append("lobby", [post(3)])
        assert (second.offset, second.epoch == first.epoch) == (2, False)


def test_a_server_that_gets_its_first_replica_is_seen_anew(tmp_path: Path) -> None:
    """From then on the epoch ends with the run, although the nodes met a server that was alone."""
    (tmp_path / "replica").mkdir()
    with (
        redis_server(tmp_path, *SYNCED, "--repl-diskless-sync-delay", "0") as primary,
        redis_server(tmp_path / "replica") as replica,
        closing(open_log(primary.url)) as log,
    ):
        log.append("lobby", [post(1)])
        follow(replica, primary)
        (second,) = log.append("lobby", [post(2)])
        primary.kill()
        primary.start()
        assert log.append("lobby", [post(3)])[0].epoch != second.epoch


def test_a_post_is_logged_when_the_replicas_have_it(pair: tuple[RedisServer, RedisServer]) -> None:
    """With `?wait=1` it is refused while the replica is stuck, also when it is sent again, and logged once."""
    primary, replica = pair
    with closing(open_log(f"{primary.url}?wait=1")) as log, closing(open_log(primary.url)) as other:
        assert log.append("lobby", [post(1)])[0].offset == 1
        replica.signal(signal.SIGSTOP)
        eventually(replica.halted)
        for _ in range(2):
            with pytest.raises(LogError, match=r"0 of 1 replicas.*too few of its replicas are there; see after them"):
                log.append("lobby", [post(2)])
        assert log.extent("lobby").top == 2
        assert other.append("attic", [post(1)])[0].offset == 1
        replica.signal(signal.SIGCONT)
        (place,) = log.append("lobby", [post(2)])
        assert (place.offset, place.duplicate) == (2, True)
        with replica.client() as client:
            assert client.xlen("parlour:{lobby}:log") == 2
