"""What a Redis server can do to the room log that it keeps, and what the log then does to the room."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from msgspec.structs import astuple
from redis.crc import key_slot

from parlour.node import NodeSettings
from parlour.node.log import Appended, Extent, LogError, Post, RoomLog
from parlour.node.log.opening import open_log
from parlour.runtime.threads import join_all, spawn
from parlour.wire.messages import Error, Joined, Message, Say
from support.cluster import cluster
from support.ports import free_ports
from support.redis_server import MISSING, SYNCED, RedisServer, redis_server
from support.waiting import MS, eventually

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

ROOMS = [
    *("lobby", "}", "{", "{}", "}{", "{a}b", "a{b}c", "a}b{c", "{{", "%7D", "100 %", "a:b", "parlour", "*"),
    *("föö", "комната", "部屋", "🦜", "ⅷ}", "é" * 64, "}" * 64),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a server that keeps nothing on disk."""
    with redis_server(tmp_path) as running:
        yield running


def post(number: int, session: str = "s", text: str = "hello") -> Post:
    """Return a post of ada's."""
    return Post(session, number, "ada", 1_700_000_000_000 + number, text)


def offsets(appended: list[Appended]) -> list[int]:
    """Return the offsets alone."""
    return [place.offset for place in appended]


def ids(log: RoomLog, room: str = "lobby") -> list[str]:
    """Return the ids of all that was said in a room."""
    return [message.id for message in log.read(room, 0, 100_000)]


# --- keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--cluster-enabled", "yes")], ids=["alone", "cluster"])
def test_the_keys_of_a_room_are_in_one_slot_and_no_other_rooms(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Whatever a room is called, its keys share a hash slot, and a server of a cluster takes each script."""
    with redis_server(tmp_path, *options) as server, server.client() as client:
        if options:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: client.cluster("INFO")["cluster_state"] == "ok", what="the cluster of one is made")
        seen: set[str] = set()
        with closing(open_log(server.url)) as log:
            seen.update(client.keys())
            assert seen == {"parlour:identity"}
            for room in ROOMS:
                assert offsets(log.append(room, [post(1), post(101, "{t}"), post(2)])) == [1, 2, 3]
                keys = set(client.keys()) - seen
                assert len(keys) == 4
                assert len({key_slot(key.encode()) for key in keys}) == 1
                seen |= keys
                assert log.extent(room).top == 3
            assert [len(log.read(room, 0, 10)) for room in ROOMS] == [3] * len(ROOMS)


# --- posts sent again ---------------------------------------------------------------------------------------


def test_duplicates_are_known_however_far_back(server: RedisServer) -> None:
    """The first of 10,000 posts is known after the last, also when the messages themselves are trimmed away."""
    with closing(open_log(server.url)) as log, server.client() as client:
        for start in range(1, 10_001, 500):
            log.append("lobby", [post(number) for number in range(start, start + 500)])
        again = log.append("lobby", [post(1), post(5_000), post(10_000)])
        assert [(place.offset, place.at % 100_000, place.duplicate) for place in again] == [
            (1, 1, True),
            (5_000, 5_000, True),
            (10_000, 10_000, True),
        ]
        client.xtrim("parlour:{lobby}:log", maxlen=10, approximate=False)
        assert log.append("lobby", [post(1)])[0] == again[0]
        assert offsets(log.append("lobby", [post(10_001)])) == [10_001]


def test_ids_out_of_order_are_told_apart(server: RedisServer) -> None:
    """Ids that come late are new, each once, whatever was logged before them; so are very large and distant ones."""
    with closing(open_log(server.url)) as log:
        assert offsets(log.append("lobby", [post(n) for n in (7, 3, 500, 2**53 - 1)])) == [1, 2, 3, 4]
        places = log.append("lobby", [post(n) for n in (1, 3, 501, 499, 500, 2**53 - 2, 2**53 - 1, 107, 7)])
        assert [(place.offset, place.duplicate) for place in places] == [
            (5, False),
            (2, True),
            (6, False),
            (7, False),
            (3, True),
            (8, False),
            (4, True),
            (9, False),
            (1, True),
        ]
        assert ids(log)[3:] == [f"s-{n}" for n in (2**53 - 1, 1, 501, 499, 2**53 - 2, 107)]


def test_what_is_remembered_of_posts_is_forgotten_in_time(server: RedisServer) -> None:
    """What serves to know duplicates expires an hour after it was last written to; the rest stays."""
    with closing(open_log(server.url)) as log, server.client() as client:
        log.append("lobby", [post(1)])
        client.expire("parlour:{lobby}:posts:s:0", 5)
        log.append("lobby", [post(2)])
        lives = {key: client.ttl(key) for key in client.scan_iter()}
        assert 3500 < lives.pop("parlour:{lobby}:posts:s:0") <= 3600
        assert set(lives.values()) == {-1}


def test_a_trimmed_stream_keeps_the_count(server: RedisServer) -> None:
    """Messages that are trimmed away leave their offsets taken, and reading begins with what is kept."""
    with closing(open_log(server.url)) as log, server.client() as client:
        log.append("lobby", [post(number) for number in range(1, 11)])
        client.xtrim("parlour:{lobby}:log", maxlen=2, approximate=False)
        assert [message.offset for message in log.read("lobby", 3, 10)] == [9, 10]
        client.xtrim("parlour:{lobby}:log", maxlen=0)
        epoch, _, top = log.extent("lobby")
        assert (top, ids(log)) == (10, [])
        assert astuple(log.append("lobby", [post(11)])[0])[:2] == (epoch, 11)
        client.delete("parlour:{lobby}:log")
        assert astuple(log.append("lobby", [post(12)])[0])[:2] == (epoch, 12)


def test_large_batches_and_texts_come_back_as_they_were(server: RedisServer) -> None:
    """A batch of megabytes, with NUL bytes, line ends and characters of four bytes."""
    texts = ["\0" * 16384, "\r\n$5\r\n" * 2000, "🦜" * 4096, "*3\r\n\0"] * 64
    with closing(open_log(server.url)) as log:
        log.append("lobby", [post(number, text=text) for number, text in enumerate(texts, 1)])
        assert [message.text for message in log.read("lobby", 0, 1000)] == texts


def test_rooms_that_wait_go_out_together(server: RedisServer) -> None:
    """Many threads in many rooms: every room in order, and one that fails takes no other along."""
    with closing(open_log(server.url)) as log, server.client() as client:
        client.set("parlour:{room 3}:log", "of another program")
        failed: list[str] = []

        def write(number: int) -> None:
            for turn in range(1, 21):
                try:
                    log.append(f"room {number % 8}", [post(turn, f"s{number}")])
                except LogError as error:
                    failed.append(str(error))

        join_all([spawn(f"writer-{number}", write, number) for number in range(24)], 30)
        for room in (0, 1, 2, 4, 5, 6, 7):
            messages = log.read(f"room {room}", 0, 1000)
            assert [message.offset for message in messages] == list(range(1, 61))
        assert len(failed) == 60
        assert "another program" in failed[0]


def test_processes_append_at_once(server: RedisServer) -> None:
    """Two processes open an empty server at once and write one room: nothing lost, no offset given twice."""
    code = (
        "import sys\nfrom parlour.node.log import Post\nfrom parlour.node.log.opening import open_log\n"
        f"log = open_log({server.url!r})\n"
        "for n in range(1, 301):\n    log.append('lobby', [Post(sys.argv[1], n, 'ada', n, 'hello')])\n"
        "print(log.identity, log.extent('lobby').epoch)\nlog.close()\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True) for name in ("s", "t")
    ]
    said = {writer.communicate(timeout=30_000 * MS)[0] for writer in writers}
    assert len(said) == 1
    with closing(open_log(server.url)) as log:
        messages = log.read("lobby", 0, 1000)
        assert [message.offset for message in messages] == list(range(1, 601))
        for name in ("s", "t"):
            assert [m.id for m in messages if m.id.startswith(name)] == [f"{name}-{n}" for n in range(1, 301)]


# --- the server dies ----------------------------------------------------------------------------------------


def test_a_synced_server_that_is_killed_has_lost_nothing(tmp_path: Path) -> None:
    """With `appendfsync always` all that was acknowledged is there after the restart, in the same epoch."""
    with redis_server(tmp_path, *SYNCED) as server, closing(open_log(server.url)) as log:
        epoch = log.extent("lobby").epoch
        logged: list[Appended] = []

        def kill() -> None:
            eventually(lambda: len(logged) > 100)
            server.kill()

        def write() -> None:
            for number in itertools.count(1):
                logged.extend(log.append("lobby", [post(number)]))

        killer = spawn("killer", kill)
        with pytest.raises(LogError, match="does not answer"):
            write()
        join_all([killer], 10)
        server.start()
        messages = log.read("lobby", 0, 1_000_000)
        # What was under way when the server died is logged or not; nobody was told that it is.
        assert len(logged) <= len(messages) <= len(logged) + 1
        assert offsets(logged) == list(range(1, len(logged) + 1))
        again = log.append("lobby", [post(number) for number in range(1, len(logged) + 2)])
        assert offsets(again) == list(range(1, len(logged) + 2))
        assert [place.duplicate for place in again] == [True] * len(messages) + [False] * (len(again) - len(messages))
        assert {place.epoch for place in again} == {epoch}
        with closing(open_log(server.url)) as other:
            assert (other.identity, other.extent("lobby").epoch) == (log.identity, epoch)


def tear(server: RedisServer) -> None:
    """Cut the end off the append-only file, in the middle of the last script's last command, as a death may do."""
    files = server.folder / "appendonlydir"
    manifest = (files / "appendonly.aof.manifest").read_text().splitlines()
    last = files / manifest[-1].split()[1]
    data = last.read_bytes()
    assert data.endswith(b"EXEC\r\n")
    os.truncate(last, data.rindex(b"HSET") + 2)


def test_a_server_that_is_killed_twice_in_mid_write_has_lost_nothing(tmp_path: Path) -> None:
    """What was acknowledged after a torn write outlives the next death: the torn one does not come in its place."""
    with redis_server(tmp_path, *SYNCED) as server, closing(open_log(server.url)) as log:
        (first,) = log.append("lobby", [post(1)])
        for text, number in (("once", 2), ("twice", 4)):
            log.append("lobby", [post(number, text="torn"), post(number + 1, text="torn")])
            server.kill()
            tear(server)
            server.start()
            places = log.append("lobby", [post(number, text=text), post(number + 1, text=text)])
            assert [astuple(place)[:2] for place in places] == [(first.epoch, number), (first.epoch, number + 1)]
        server.kill()
        server.start()
        assert [message.text for message in log.read("lobby", 0, 9)] == ["hello", "once", "once", "twice", "twice"]
        again = log.append("lobby", [post(number) for number in range(1, 7)])
        assert [(p.epoch, p.offset, p.duplicate) for p in again] == [(first.epoch, n, n < 6) for n in range(1, 7)]


def rewrites(server: RedisServer) -> int:
    """Return how often this run of the server has rewritten its append-only file."""
    with server.client() as client:
        return int(client.info("persistence")["aof_rewrites"])


def test_the_file_is_rewritten_once_in_a_run(tmp_path: Path) -> None:
    """Whoever comes first has it done; the other nodes, and those that begin later, wait for that at most."""
    with redis_server(tmp_path, *SYNCED, "--rdb-key-save-delay", "20000") as server, ExitStack() as stack:
        logs = [stack.enter_context(closing(open_log(server.url))) for _ in range(12)]
        assert rewrites(server) == 1
        places = logs[0].append("lobby", [post(1)])
        server.kill()
        server.start()

        def write(log: RoomLog, number: int) -> None:
            places.extend(log.append("lobby", [post(number)]))

        join_all([spawn(f"node-{n}", write, log, n) for n, log in enumerate(logs, 2)], 20)
        open_log(server.url).close()
        assert rewrites(server) == 1
        assert len({place.epoch for place in places}) == 1
        assert len(ids(logs[0])) == 13


@pytest.mark.parametrize("patient", [True, False])
def test_a_rewrite_that_takes_long_is_waited_for_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    """Posts are refused meanwhile, with the reason; beyond the bound they are taken, for an epoch that will end."""
    with redis_server(tmp_path, *SYNCED) as server, closing(open_log(server.url)) as log:
        log.append("lobby", [post(1)])
        epoch = log.extent("lobby").epoch
        monkeypatch.setattr("parlour.node.log.redis_server.ANSWER", 0.2)
        server.kill()
        server.start("--rdb-key-save-delay", "500000")  # for each of the room's three keys, and the identity
        if not patient:
            monkeypatch.setattr("parlour.node.log.redis_server.REWRITE", 0.5)
        with pytest.raises(LogError, match="is rewriting its append-only file; wait until it has"):
            log.append("lobby", [post(2)])
        assert ids(log) == ["s-1"]

        def logged() -> list[Appended]:
            try:
                return log.append("lobby", [post(2)])
            except LogError:
                return []

        (second,) = eventually(logged)
        assert (second.offset, second.epoch == epoch) == (2, patient)
        with closing(open_log(server.url)) as other:
            assert other.extent("lobby") == (second.epoch, 0, 2)
        server.kill()
        server.start()
        assert (log.extent("lobby").epoch == second.epoch) == patient
        assert ids(log) == ["s-1", "s-2"]


def test_a_server_that_does_not_rewrite_begins_a_new_epoch(tmp_path: Path) -> None:
    """Without a rewrite, what is on the disk is not relied upon; all nodes of the run hold that alike."""
    with (
        redis_server(tmp_path, *SYNCED, "--rename-command", "BGREWRITEAOF", "") as server,
        closing(open_log(server.url)) as log,
        closing(open_log(server.url)) as other,
    ):
        (first,) = log.append("lobby", [post(1)])
        with server.client() as client:
            client.config_set("auto-aof-rewrite-min-size", 1)
            client.config_set("auto-aof-rewrite-percentage", 1)
        eventually(lambda: rewrites(server), what="the server rewrites by itself")
        with closing(open_log(server.url)) as late:
            assert late.extent("lobby") == other.extent("lobby") == (first.epoch, 0, 1)
        server.kill()
        server.start()
        assert log.extent("lobby").epoch != first.epoch


@pytest.mark.parametrize(
    "options", [("--appendonly", "yes", "--appendfsync", "no"), (*SYNCED, "--no-appendfsync-on-rewrite", "yes")]
)
def test_a_server_that_may_have_lost_something_begins_a_new_epoch(tmp_path: Path, options: tuple[str, ...]) -> None:
    """After a restart what is still there goes on, but no position of before is taken for one in it."""
    with redis_server(tmp_path, *options) as server, closing(open_log(server.url)) as log:
        (first,) = log.append("lobby", [post(1)])
        log.append("attic", [post(1)])
        server.kill()
        server.start()
        (second,) = log.append("lobby", [post(2)])
        assert second.epoch != first.epoch
        assert log.extent("attic").epoch not in (first.epoch, second.epoch)
        assert log.append("lobby", [post(1)])[0] == Appended(second.epoch, 1, first.at, True)
        assert ids(log) == ["s-1", "s-2"]
        with closing(open_log(server.url)) as other:
            assert other.extent("lobby") == (second.epoch, 0, 2)


@pytest.mark.parametrize("how", ["restart", "flush"])
def test_an_emptied_server_is_the_same_log_in_a_new_epoch(tmp_path: Path, how: str) -> None:
    """The nodes go on, with their log's identity given back to the server, so that others may join them."""
    with redis_server(tmp_path, *SYNCED) as server, closing(open_log(server.url)) as log:
        (first,) = log.append("lobby", [post(1)])
        if how == "restart":
            server.kill()
            server.empty()
            server.start()
        else:
            with server.client() as client:
                client.flushall()
        assert log.read("lobby", 0, 10) == []
        place = log.extent("lobby")
        assert (place.top, place.epoch == first.epoch) == (0, False)
        with closing(open_log(server.url)) as other:
            assert other.identity == log.identity
            assert other.append("lobby", [post(1)]) == [Appended(place.epoch, 1, post(1).at, False)]
        assert offsets(log.append("lobby", [post(2)])) == [2]


@pytest.mark.parametrize("how", ["restart", "flush"])
def test_another_log_in_the_place_of_the_server_is_refused(tmp_path: Path, how: str) -> None:
    """A node goes on with its own log or not at all, and writes nothing into another."""
    with redis_server(tmp_path, *SYNCED) as server, closing(open_log(server.url)) as log:
        log.append("lobby", [post(1)])
        if how == "restart":
            server.kill()
            server.empty()
            server.start()
        else:
            with server.client() as client:
                client.flushall()
        with closing(open_log(server.url)) as other:
            assert other.identity != log.identity
            other.append("lobby", [post(9)])
            calls: list[Callable[[], object]] = [
                lambda: log.append("lobby", [post(2)]),
                lambda: log.append("attic", [post(2)]),
                lambda: log.extent("lobby"),
                lambda: log.read("lobby", 0, 10),
            ]
            for call in calls:
                with pytest.raises(LogError, match="another"):
                    call()
            assert ids(other) == ["s-9"]
            assert other.extent("attic").top == 0


def test_an_operator_can_begin_a_new_epoch(tmp_path: Path) -> None:
    """Whoever gives a synced server an older copy of its files strikes out the run, and with it the old positions."""
    with redis_server(tmp_path, *SYNCED) as server, closing(open_log(server.url)) as log, server.client() as client:
        (first,) = log.append("lobby", [post(1)])
        client.hdel("parlour:{lobby}:room", "run")
        (second,) = log.append("lobby", [post(2)])
        assert (second.offset, second.epoch == first.epoch) == (2, False)
        assert log.extent("lobby") == (second.epoch, 0, 2)


def test_a_server_that_is_away_is_missed_and_found_again(server: RedisServer) -> None:
    """While it is away every call fails at once; when it is back the next one works, with nothing done twice."""
    with closing(open_log(server.url)) as log:
        log.append("lobby", [post(1)])
        server.kill()
        for call in (
            lambda: log.append("lobby", [post(2)]),
            lambda: log.extent("lobby"),
            lambda: log.read("lobby", 0, 9),
        ):
            before = time.monotonic()
            with pytest.raises(
                LogError, match=rf"^the room log {server.url} does not answer \(.*\): see whether it runs"
            ):
                call()
            assert time.monotonic() - before < 1000 * MS
        server.start()
        assert offsets(log.append("lobby", [post(2)])) == [1]
        assert ids(log) == ["s-2"]


def test_a_server_that_is_stuck_costs_seconds_and_no_post(server: RedisServer) -> None:
    """All who wait fail within a few seconds; what they sent again is logged once, whether the first came in or not."""
    with closing(open_log(server.url)) as log:
        log.append("lobby", [post(100)])
        server.signal(signal.SIGSTOP)
        eventually(server.halted)
        failed: list[str] = []

        def write(number: int) -> None:
            try:
                log.append("lobby" if number % 2 else "attic", [post(number)])
            except LogError as error:
                failed.append(str(error))

        before = time.monotonic()
        join_all([spawn(f"writer-{number}", write, number) for number in range(1, 41)], 20)
        assert time.monotonic() - before < 8_000 * MS
        assert len(failed) == 40
        assert all("is stuck or out of reach" in text and "\n" not in text for text in failed)
        server.signal(signal.SIGCONT)
        eventually(lambda: takes(log, post(1)))  # for a moment nobody may ask it
        for number in range(1, 41):
            log.append("lobby" if number % 2 else "attic", [post(number)])
        assert sorted(ids(log)) == sorted(["s-100", *(f"s-{n}" for n in range(1, 41, 2))])
        assert sorted(ids(log, "attic")) == sorted(f"s-{n}" for n in range(2, 41, 2))


def test_a_server_that_is_stuck_is_waited_for_by_one_at_a_time(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node's few workers are not all held up by one server, whichever rooms they are for and whatever they ask."""
    with closing(open_log(server.url)) as log:
        log.append("lobby", [post(1)])
        monkeypatch.setattr("parlour.node.log.redis_server.PAUSE", 60.0)
        server.signal(signal.SIGSTOP)
        eventually(server.halted)
        with pytest.raises(LogError, match="is stuck or out of reach"):
            log.extent("lobby")
        before = time.monotonic()
        asks: list[Callable[[str], object]] = [
            log.extent,
            lambda room: log.read(room, 0, 10),
            lambda room: log.append(room, [post(2)]),
        ]
        for number, ask in itertools.product(range(20), asks):
            with pytest.raises(LogError, match="is stuck or out of reach"):
                ask(f"room-{number}")
        assert time.monotonic() - before < 2_000 * MS  # one answer that does not come is waited for as long
        server.signal(signal.SIGCONT)


def takes(log: RoomLog, said: Post) -> bool:
    """Whether the log takes a post now."""
    try:
        return bool(log.append("lobby", [said]))
    except LogError:
        return False


def test_a_room_in_which_nothing_was_said_is_forgotten_by_and_by(server: RedisServer) -> None:
    """Joining leaves nothing for ever; what was said is never forgotten with it, nor where it stood."""
    with closing(open_log(server.url)) as log, server.client() as client:
        epoch = log.extent("lobby").epoch
        assert 0 < client.ttl("parlour:{lobby}:room") <= 3600
        client.persist("parlour:{lobby}:room")  # as an earlier node left it
        assert log.extent("lobby").epoch == epoch
        assert 0 < client.ttl("parlour:{lobby}:room") <= 3600
        log.append("lobby", [post(1), post(1)])
        assert client.ttl("parlour:{lobby}:room") == -1
        while log.trim("lobby", 0, 2**60, 10):
            pass
        assert log.extent("lobby") == Extent(epoch, 1, 1)
        assert client.ttl("parlour:{lobby}:room") == -1


def test_scripts_that_were_flushed_are_given_again(server: RedisServer) -> None:
    """An operator may empty the cache of scripts at any time; nothing is seen of it."""
    with closing(open_log(server.url)) as log, server.client() as client:
        (first,) = log.append("lobby", [post(1)])
        client.script_flush()
        assert astuple(log.append("lobby", [post(2)])[0])[:2] == (first.epoch, 2)


# --- the server refuses -------------------------------------------------------------------------------------


def test_a_full_server_costs_the_batch_and_nothing_else(tmp_path: Path) -> None:
    """Without memory a batch fails whole while reading goes on; with memory again it is logged, once."""
    with redis_server(tmp_path, "--maxmemory", "4mb") as server, closing(open_log(server.url)) as log:
        # Texts that do not compress, of a size that comes to the limit in the middle of a batch.
        batches = [[post(n, text="x" * 16_000) for n in range(start, start + 40)] for start in range(1, 400, 40)]
        logged: list[Appended] = []

        def write() -> None:
            for batch in batches:
                logged.extend(log.append("lobby", batch))

        with pytest.raises(LogError, match="its memory is full; raise maxmemory or make room"):
            write()
        assert 0 < len(logged) == log.extent("lobby").top == len(ids(log))
        with server.client() as client:
            client.config_set("maxmemory", "2mb")
            with pytest.raises(LogError, match="memory is full"):
                log.extent("a room that is not there yet")
            with closing(open_log(server.url)) as other:
                assert (other.identity, other.extent("lobby"), ids(other)) == (
                    log.identity,
                    log.extent("lobby"),
                    ids(log),
                )
            client.config_set("maxmemory", 0)
        for batch in batches:
            log.append("lobby", batch)
        assert ids(log) == [f"s-{n}" for n in range(1, 401)]


def test_a_key_of_another_program_fails_the_batch_whole(server: RedisServer) -> None:
    """Whichever of a room's keys is not ours, nothing of the batch is written."""
    with closing(open_log(server.url)) as log, server.client() as client:
        for room, key in (("a", ":log"), ("b", ":room"), ("c", ":posts:t:0")):
            client.set(f"parlour:{{{room}}}{key}", "theirs")
            before = set(client.keys())
            with pytest.raises(LogError, match="another program keeps keys"):
                log.append(room, [post(1), post(2, "t")])
            assert set(client.keys()) == before
            client.delete(f"parlour:{{{room}}}{key}")
            assert offsets(log.append(room, [post(1), post(2, "t")])) == [1, 2]


def test_a_server_that_became_a_replica_takes_nothing(server: RedisServer) -> None:
    """The server was demoted under the node: it says so, and works again as soon as it may write."""
    with closing(open_log(server.url)) as log, server.client() as client:
        log.append("lobby", [post(1)])
        client.replicaof("127.0.0.1", free_ports(1))
        with pytest.raises(LogError, match="it is a replica; give --log the primary"):
            log.append("lobby", [post(2)])
        client.replicaof("NO", "ONE")
        assert offsets(log.append("lobby", [post(2)])) == [2]


def test_wrong_words_are_told_and_never_shown(tmp_path: Path) -> None:
    """No password, a wrong one, a wrong user, too few rights: one line each, which has no secret in it."""
    with redis_server(tmp_path, "--requirepass", "sesame") as server:
        with server.client(password="sesame") as client:
            client.execute_command(
                "ACL", "SETUSER", "reader", "on", ">sesame", "~*", "+@read", "+info", "+config", "+ping"
            )
        place = f"127.0.0.1:{server.port}/0"
        for user, advice in (
            ("", "check the user and password"),
            (":ses%40m@", "check the user and password"),
            ("ada:sesame@", "check the user and password"),
            ("reader:sesame@", r"allow its user all commands on parlour:\*"),
        ):
            with pytest.raises(LogError, match=advice) as caught:
                open_log(f"redis://{user}{place}")
            text = str(caught.value)
            assert text.startswith(f"the room log redis://{place} failed (")
            assert "\n" not in text
            assert "ses" not in text
        for user in (":sesame@", "default:sesame@"):
            with closing(open_log(f"redis://{user}{place}")) as log:
                assert offsets(log.append(user, [post(1)])) == [1]


@pytest.mark.parametrize(
    ("options", "database", "said"),
    [
        ((), "99", "DB index is out of range.*give --log a lower number"),
        (("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru"), "0", "set its maxmemory-policy to noeviction"),
        (("--maxmemory", "1gb", "--maxmemory-policy", "volatile-ttl"), "0", "set its maxmemory-policy to noeviction"),
        (("--maxmemory", "0", "--maxmemory-policy", "allkeys-lru"), "0", ""),
        (("--maxmemory", "1gb", "--maxmemory-policy", "noeviction"), "15", ""),
        (("--rename-command", "CONFIG", ""), "0", ""),
    ],
)
def test_servers_that_would_not_keep_a_log_are_refused(
    tmp_path: Path, options: tuple[str, ...], database: str, said: str
) -> None:
    """No such database, a server that throws keys away; others pass, also those that hide their settings."""
    with redis_server(tmp_path, *options) as server:
        url = f"redis://127.0.0.1:{server.port}/{database}"
        if said:
            with pytest.raises(LogError, match=said):
                open_log(url)
        else:
            open_log(url).close()


def test_a_server_of_the_past_is_refused(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older server would hand its scripts on to the next run of itself."""
    monkeypatch.setattr("parlour.node.log.redis_server._OLDEST", (99, 0))
    with pytest.raises(LogError, match=r"is a Redis 7\.\S+: it takes 7\.0 or newer, or a Valkey"):
        open_log(server.url)


def test_a_server_that_is_still_reading_its_data_is_waited_for(tmp_path: Path) -> None:
    """A call while the server loads fails with the reason, and works after."""
    with redis_server(tmp_path, *SYNCED) as server:
        with server.client() as client:
            pipeline = client.pipeline()
            for number in range(5000):
                pipeline.set(f"filler {number}", "x")
            pipeline.execute()
        with closing(open_log(server.url)) as log:
            log.append("lobby", [post(1)])
            server.kill()
            server.start("--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024", wait=False)
            said: list[str] = []

            def logged() -> bool:
                try:
                    return bool(log.append("lobby", [post(2)]))
                except LogError as error:
                    said.append(str(error))
                    return False

            eventually(logged)
            assert "wait until it has" in said[-1]
            assert ids(log) == ["s-1", "s-2"]


def test_nobody_at_the_address(tmp_path: Path) -> None:
    """A port where nobody listens, a name that nobody has: one line, and nothing left open."""
    for place in (f"127.0.0.1:{free_ports(1)}/0", "nowhere.invalid:6379/0"):
        with pytest.raises(
            LogError, match=rf"^the room log redis://{place} does not answer \(.*\): see whether it runs"
        ):
            open_log(f"redis://ada:secret@{place}")


def test_a_closed_log_stays_closed(server: RedisServer) -> None:
    """What comes after the end is refused, not connected anew."""
    log = open_log(server.url)
    log.close()
    for call in (lambda: log.append("lobby", [post(1)]), lambda: log.extent("lobby"), lambda: log.read("lobby", 0, 1)):
        with pytest.raises(LogError, match="the node is stopping"):
            call()


def test_tls_is_spoken_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rediss://` works with a certificate that the system trusts, and with no other."""
    certificate, key = str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    request += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(request, check=True, capture_output=True, timeout=30)
    port = free_ports(1)
    options = ["--tls-port", str(port), "--tls-cert-file", certificate, "--tls-key-file", key]
    with redis_server(tmp_path, *options, "--tls-auth-clients", "no"):
        with pytest.raises(LogError, match="certificate verify failed"):
            open_log(f"rediss://localhost:{port}/0")
        monkeypatch.setitem(os.environ, "SSL_CERT_FILE", certificate)
        with closing(open_log(f"rediss://localhost:{port}/0")) as log:
            assert offsets(log.append("lobby", [post(1)])) == [1]
        with pytest.raises(LogError, match="certificate verify failed"):
            open_log(f"rediss://127.0.0.1:{port}/0")


# --- a room on two nodes ------------------------------------------------------------------------------------


def test_a_room_goes_on_after_the_server_was_emptied(tmp_path: Path) -> None:
    """Two nodes talk; the server comes back empty: members are told unasked, and see what is said from then on."""
    with (
        redis_server(tmp_path) as server,
        cluster(2, NodeSettings(log=server.url)) as running,
        running.clients("ada", "bob", room="lobby") as (ada, bob),
    ):
        for client in (ada, bob):
            client.say("lobby", f"hello from {client.name}")
            for member in (ada, bob):
                assert member.texts(1) == [f"hello from {client.name}"]
        server.kill()
        ada.send(Say("lobby", 9, "is anybody there?"))
        error = ada.get(Error)
        assert (error.code, error.id, error.fatal) == ("unavailable", 9, False)
        assert "does not answer" in error.text
        server.start()
        ada.send(Say("lobby", 9, "is anybody there?"))
        for member in (ada, bob):
            joined = member.get(Joined)
            assert (joined.recovered, joined.after) == (False, 0)
            message = member.get(Message)
            assert (message.text, message.offset) == ("is anybody there?", 1)
        bob.say("lobby", "I am")
        for member in (ada, bob):
            assert member.texts(1) == ["I am"]
            assert not [heard for heard in member.heard if isinstance(heard, Joined | Message)]


def test_a_room_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    """Two nodes talk; a synced server is killed and started again: nobody is told anything and nothing is missing."""
    with (
        redis_server(tmp_path, *SYNCED) as server,
        cluster(2, NodeSettings(log=server.url)) as running,
        running.clients("ada", "bob", room="lobby") as (ada, bob),
    ):
        ada.say("lobby", "before")
        for member in (ada, bob):
            assert member.texts(1) == ["before"]
        server.kill()
        server.start()
        bob.say("lobby", "after")
        for member in (ada, bob):
            assert member.texts(1) == ["after"]
            assert not [heard for heard in member.heard if isinstance(heard, Joined | Message)]
