"""Rooms in a Redis Cluster: each on its server, found again when that dies, moves or is replaced."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from msgspec.structs import astuple
from redis.crc import key_slot

from parlour.node import NodeSettings
from parlour.node.cluster.clockwatch import ClockWatch
from parlour.node.log import Appended, LogError, Post, RoomLog
from parlour.node.log.opening import open_log
from parlour.node.log.retention import Retention
from parlour.node.rooms.trimmer import Trimmer
from parlour.runtime.threads import join_all, spawn
from parlour.wire.messages import Error, Joined, Say
from support.cluster import cluster
from support.redis_server import MISSING, SLOTS, SYNCED, RedisServer, redis_cluster, redis_server
from support.waiting import MS, eventually

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

NAMES = [
    "}",
    "{",
    "{}",
    "}{",
    "{a}b",
    "a{b}c",
    "%7D",
    "100 %",
    "*",
    "комната",
    "🦜",
    *(f"room {n}" for n in range(200)),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Run three primaries that lose nothing, for all tests here that kill none."""
    with redis_cluster(tmp_path_factory.mktemp("cluster"), *SYNCED) as servers:
        yield servers


@pytest.fixture
def servers(running: list[RedisServer]) -> list[RedisServer]:
    """Give the three primaries, emptied."""
    for server in running:
        with server.client() as client:
            client.flushall()
            client.script_flush()
    return running


def post(number: int, text: str = "hello") -> Post:
    """Return a post of ada's."""
    return Post("s", number, "ada", 1_700_000_000_000 + number, text)


def slot_of(room: str) -> int:
    """Return the hash slot of a room without braces."""
    return int(key_slot(f"parlour:{{{room}}}:log".encode()))


def home(key: str) -> int:
    """Return the number of the server that has a key, in a cluster of three that is new."""
    return next(n for n in range(3) if key_slot(key.encode()) < SLOTS * (n + 1) // 3)


def room_at(number: int) -> str:
    """Return a room that is on a server."""
    return next(name for n in itertools.count() if home(f"parlour:{{{(name := f'room_{n}')}}}:log") == number)


def try_append(log: RoomLog, room: str, number: int) -> list[Appended]:
    """Return what became of a post, or nothing if the log is not available."""
    try:
        return log.append(room, [post(number)])
    except LogError:
        return []


# --- where rooms are ----------------------------------------------------------------------------------------


def test_rooms_spread_over_all_servers(servers: list[RedisServer]) -> None:
    """Each key is on the server that has its slot; a node that was given any other server finds it there."""
    with closing(open_log(servers[0].url)) as log, closing(open_log(servers[2].url)) as other:
        assert log.identity == other.identity
        join_all([spawn(f"node-{n}", log.append, name, [post(1), post(101)]) for n, name in enumerate(NAMES)], 30)
        for name in NAMES:
            assert [astuple(place)[1:] for place in other.append(name, [post(101), post(2)])] == [
                (2, post(101).at, True),
                (3, post(101).at, False),  # a time is not before the last one
            ]
            assert [message.id for message in other.read(name, 0, 9)] == ["s-1", "s-101", "s-2"]
            assert log.extent(name) == other.extent(name)
        assert log.rooms("", 1000) == sorted(NAMES)
        assert other.rooms("room 150", 3) == ["room 151", "room 152", "room 153"]
    for number, server in enumerate(servers):
        with server.client() as client:
            keys = set(client.keys()) - {"parlour:identity"}
        assert len(keys) > 100
        assert {home(key) for key in keys} == {number}


def test_what_is_no_cluster_to_keep_a_log_is_refused(tmp_path: Path) -> None:
    """A database that no cluster has, a cluster that was never made, a wrong password: one line that tells."""
    with redis_server(tmp_path, "--cluster-enabled", "yes") as server:
        with pytest.raises(LogError, match="a Redis Cluster has no database but 0"):
            open_log(server.url.replace("/0", "/1"))
        with pytest.raises(LogError, match="a server of its cluster is missing; bring it back"):
            open_log(server.url)


def test_all_servers_are_given_the_password(servers: list[RedisServer]) -> None:
    """The user and password in the URL are for each of them, and are never shown."""

    def demand(password: str, known: str | None) -> None:
        for server in servers:
            with server.client(password=known) as client:
                client.config_set("requirepass", password)

    demand("sesame", None)
    with closing(open_log(servers[1].url.replace("//", "//:sesame@"))) as log:
        for number in range(3):
            assert log.append(room_at(number), [post(1)])[0].offset == 1
        with servers[2].client(password="sesame") as client:
            client.set(f"parlour:{{{room_at(2)}}}:room", "theirs")
        with pytest.raises(LogError, match=rf"^the room log {servers[2].url} failed .* another program") as caught:
            log.append(room_at(2), [post(2)])
        assert "sesame" not in str(caught.value)
    demand("", "sesame")


# --- a server is away ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dead", [home("parlour:identity"), 2])
def test_a_killed_server_takes_its_own_rooms_along_and_no_others(tmp_path: Path, dead: int) -> None:
    """They are refused at once, and go on in their epoch when it is back; the others notice nothing."""
    with redis_cluster(tmp_path, *SYNCED) as servers, closing(open_log(servers[0].url)) as log:
        rooms = [room_at(number) for number in range(3)]
        epochs = [log.append(room, [post(1)])[0].epoch for room in rooms]
        servers[dead].kill()
        for number, room in enumerate(rooms):
            for turn in (2, 3, 4):
                before = time.monotonic()
                if number == dead:
                    with pytest.raises(LogError, match=rf"^the room log {servers[dead].url} does not answer"):
                        log.append(room, [post(turn)])
                else:
                    assert astuple(log.append(room, [post(turn)])[0])[:2] == (epochs[number], turn)
                assert time.monotonic() - before < 1000 * MS
        # Another server is met anew, which does not wait for the one that has the log's identity.
        with servers[dead - 1].client() as client:
            client.script_flush()
        assert log.append(rooms[dead - 1], [post(5)])[0].offset == 5
        servers[dead].start()
        (back,) = eventually(lambda: try_append(log, rooms[dead], 2))
        assert astuple(back)[:2] == (epochs[dead], 2)
        assert log.rooms("", 9) == sorted(rooms)


def test_what_is_over_is_forgotten_also_while_a_server_is_away(tmp_path: Path) -> None:
    """Rooms that cannot be listed, and one that cannot be trimmed, keep none of the others from it."""
    with redis_cluster(tmp_path, *SYNCED) as servers, closing(open_log(servers[0].url)) as log:
        rooms = [room_at(number) for number in range(3)]
        spoilt = next(room for n in itertools.count() if home(f"parlour:{{{(room := f'a {n}')}}}:log") == 0)
        for room in (spoilt, *rooms):
            log.append(room, [post(number) for number in range(1, 6)])
        with servers[0].client() as client:
            client.set(f"parlour:{{{spoilt}}}:room", "theirs")
        servers[1].kill()
        trimmer = Trimmer("trimmer", log, Retention(count=2), 10 * MS, ClockWatch())
        trimmer.start()
        try:
            for room in (rooms[0], rooms[2]):
                eventually(lambda room=room: log.extent(room).trimmed == 3)  # type: ignore[misc]
            servers[1].start()
            eventually(lambda: try_append(log, rooms[1], 5))
            eventually(lambda: log.extent(rooms[1]).trimmed == 3)
        finally:
            trimmer.stop()


def test_a_server_that_lost_its_memory_begins_new_epochs_in_its_rooms_alone(tmp_path: Path) -> None:
    """The rooms of the others keep theirs; the log is the same, also if it was its identity's server."""
    with redis_cluster(tmp_path) as servers, closing(open_log(servers[0].url)) as log:
        lost = home("parlour:identity")
        rooms = [room_at(number) for number in range(3)]
        epochs = [log.append(room, [post(1)])[0].epoch for room in rooms]
        servers[lost].kill()
        servers[lost].start()
        (back,) = eventually(lambda: try_append(log, rooms[lost], 2))
        assert (back.offset, back.epoch == epochs[lost]) == (1, False)
        for number in {0, 1, 2} - {lost}:
            assert astuple(log.append(rooms[number], [post(2)])[0])[:2] == (epochs[number], 2)
        with closing(open_log(servers[1].url)) as other:
            assert other.identity == log.identity


def test_a_server_that_is_stuck_holds_up_its_own_rooms_alone(servers: list[RedisServer]) -> None:
    """While posts to it wait for its answer, those of other rooms are logged."""
    with closing(open_log(servers[0].url)) as log:
        rooms = [room_at(number) for number in range(3)]
        for room in rooms:
            log.append(room, [post(1)])
        servers[1].signal(signal.SIGSTOP)
        eventually(servers[1].halted)
        failed: list[float] = []

        def write() -> None:
            try:
                log.append(rooms[1], [post(2)])
            except LogError:
                failed.append(time.monotonic())

        began = time.monotonic()
        writers = [spawn(f"stuck-{n}", write) for n in range(8)]
        for turn in range(2, 50):
            for room in (rooms[0], rooms[2]):
                assert log.append(room, [post(turn)])[0].offset == turn
        assert not failed
        join_all(writers, 20)
        assert len(failed) == 8
        assert max(failed) - began < 8_000 * MS
        servers[1].signal(signal.SIGCONT)
        assert eventually(lambda: try_append(log, rooms[1], 2))[0].offset == 2


def test_a_replica_that_takes_over_is_found_and_begins_a_new_epoch(tmp_path: Path) -> None:
    """It may lack what its primary acknowledged last; the rooms of the other servers go on as they were."""
    with redis_cluster(tmp_path, *SYNCED, "--repl-diskless-sync-delay", "0") as servers, ExitStack() as stack:
        (tmp_path / "replica").mkdir()
        options = (*servers[1].options, "--cluster-replica-no-failover", "yes")
        replica = stack.enter_context(redis_server(tmp_path / "replica", *options))
        with replica.client() as client, servers[1].client() as primary:
            client.cluster("MEET", "127.0.0.1", servers[0].port, servers[0].port + 1)
            name = primary.cluster("MYID")
            eventually(lambda: name in str(client.cluster("NODES")))
            client.cluster("REPLICATE", name)
            eventually(lambda: client.info("replication").get("master_link_status") == "up")
            # Who has which slot it hears from the others, in its own time.
            eventually(lambda: client.cluster("INFO")["cluster_slots_assigned"] == "16384")
        log = stack.enter_context(closing(open_log(servers[0].url)))
        rooms = [room_at(number) for number in range(3)]
        epochs = [log.append(room, [post(1)])[0].epoch for room in rooms]
        with replica.client() as client:
            client.readonly()
            eventually(lambda: client.exists(f"parlour:{{{rooms[1]}}}:log"))
            servers[1].kill()
            client.cluster("FAILOVER", "TAKEOVER")
        (place,) = eventually(lambda: try_append(log, rooms[1], 2))
        assert (place.offset, place.epoch == epochs[1]) == (2, False)
        assert [astuple(log.append(rooms[n], [post(2)])[0])[:2] for n in (0, 2)] == [(epochs[0], 2), (epochs[2], 2)]


# --- slots move ---------------------------------------------------------------------------------------------


def begin_move(slot: int, source: RedisServer, target: RedisServer) -> None:
    """Tell both servers that a slot is moved from one to the other."""
    with source.client() as giving, target.client() as taking:
        taking.cluster("SETSLOT", slot, "IMPORTING", giving.cluster("MYID"))
        giving.cluster("SETSLOT", slot, "MIGRATING", taking.cluster("MYID"))


def move_keys(slot: int, source: RedisServer, target: RedisServer, count: int) -> None:
    """Move so many of the slot's keys."""
    with source.client() as giving:
        keys = giving.cluster("GETKEYSINSLOT", slot, count)
        giving.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)


def end_move(slot: int, source: RedisServer, target: RedisServer) -> None:
    """Tell both servers that the slot is the other's now."""
    with source.client() as giving, target.client() as taking:
        name = taking.cluster("MYID")
        for client in (taking, giving):
            client.cluster("SETSLOT", slot, "NODE", name)


@pytest.mark.parametrize("sync", ["always", "everysec"])
def test_a_slot_that_moves_is_followed(servers: list[RedisServer], sync: str) -> None:
    """In mid-move (ASK), after it (MOVED) and back: nothing lost or doubled; the epoch stays if nothing can be lost."""
    for server in servers:
        with server.client() as client:
            client.config_set("appendfsync", sync)
    room, slot = room_at(0), slot_of(room_at(0))
    with closing(open_log(servers[0].url)) as log:
        epoch = log.append(room, [post(1), post(2)])[0].epoch
        begin_move(slot, servers[0], servers[1])
        assert astuple(log.append(room, [post(3)])[0])[:2] == (epoch, 3)
        move_keys(slot, servers[0], servers[1], 10)
        during = log.append(room, [post(4), post(2)])
        assert [(place.offset, place.duplicate) for place in during] == [(4, False), (2, True)]
        assert [message.offset for message in log.read(room, 0, 9)] == [1, 2, 3, 4]
        end_move(slot, servers[0], servers[1])
        after = log.append(room, [post(5), post(500)])
        assert [place.offset for place in after] == [5, 6]
        assert {place.epoch == epoch for place in (*during, *after)} == {sync == "always"}
        assert not log.trim(room, 5, 2**53, 9)
        assert log.extent(room) == (after[0].epoch, 1, 6)
        assert log.rooms("", 9) == [room]
        begin_move(slot, servers[1], servers[0])
        move_keys(slot, servers[1], servers[0], 10)
        end_move(slot, servers[1], servers[0])
        assert log.append(room, [post(1), post(6)])[1].offset == 7
        with closing(open_log(servers[2].url)) as other:
            assert other.append(room, [post(500)])[0].offset == 6


@pytest.mark.parametrize("count", [1, 2])
def test_a_room_of_which_a_part_has_moved_is_waited_for(servers: list[RedisServer], count: int) -> None:
    """A post waits for the rest of the keys, and is refused when that takes long; reading finds all there is."""
    room, slot = room_at(0), slot_of(room_at(0))
    with closing(open_log(servers[0].url)) as log:
        log.append(room, [post(1)])
        begin_move(slot, servers[0], servers[1])
        move_keys(slot, servers[0], servers[1], count)
        assert [message.id for message in log.read(room, 0, 9)] == ["s-1"]
        with pytest.raises(LogError, match="are being moved to another server; wait until they have"):
            log.append(room, [post(2)])
        places: list[Appended] = []
        writer = spawn("writer", lambda: places.extend(log.append(room, [post(2)])))
        move_keys(slot, servers[0], servers[1], 10)
        join_all([writer], 10)
        assert [place.offset for place in places] == [2]
        end_move(slot, servers[0], servers[1])
        begin_move(slot, servers[1], servers[0])
        move_keys(slot, servers[1], servers[0], 10)
        end_move(slot, servers[1], servers[0])
        assert [message.id for message in log.read(room, 0, 9)] == ["s-1", "s-2"]


# --- rooms on nodes -----------------------------------------------------------------------------------------


def test_people_talk_on_while_a_server_is_away(tmp_path: Path) -> None:
    """Two nodes, two rooms: the one whose server is killed is refused and comes back, the other notices nothing."""
    here, gone = room_at(0), room_at(1)
    with (
        redis_cluster(tmp_path, *SYNCED) as servers,
        cluster(2, NodeSettings(log=servers[0].url)) as running,
        running.clients("ada", "bob", room=here) as (ada, bob),
        running.clients("eve", room=gone) as (eve,),
    ):
        eve.say(gone, "anybody here?")
        assert eve.texts(1) == ["anybody here?"]
        servers[1].kill()
        eve.send(Say(gone, 9, "hello?"))
        error = eve.get(Error)
        assert (error.code, error.id, error.fatal) == ("unavailable", 9, False)
        for client in (ada, bob):
            client.say(here, f"hello from {client.name}")
            for member in (ada, bob):
                assert member.texts(1) == [f"hello from {client.name}"]
        servers[1].start()
        eventually(servers[1].sees_all_slots, 20, what="the server serves its slots again")
        eve.send(Say(gone, 9, "hello?"))
        assert eve.texts(1) == ["hello?"]
        assert not [event for event in eve.heard if isinstance(event, Joined)]
