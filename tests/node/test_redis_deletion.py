"""Deleted records in Redis: nothing of their texts stays in the server, and all others stay where they are."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parlour.node.log import LogError, Post, RichPost, RoomLog
from parlour.node.log.memory import MemoryLog
from parlour.node.log.opening import open_log
from parlour.node.log.redis_job import key
from parlour.runtime.threads import join_all, spawn
from parlour.wire.records import EDIT, GONE, GONE_TEXT, REDACT
from support.redis_server import MISSING, SYNCED, RedisServer, redis_server
from support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

SECRET = "the words that nobody may read"
AT = 1_700_000_000_000

_rooms = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a server whose dumps are not compressed."""
    with redis_server(tmp_path_factory.mktemp("redis"), "--rdbcompression", "no") as running:
        yield running


@pytest.fixture
def log(server: RedisServer) -> Iterator[RoomLog]:
    """Open the log, empty."""
    with server.client() as client:
        client.flushall()
    with closing(open_log(server.url)) as opened:
        yield opened


def say(number: int, text: str = "hello") -> Post:
    """Return a plain post."""
    return Post("s", number, "ada", AT + number, text)


def about(number: int, kind: str, ref: int, text: str = "") -> Post:
    """Return a post that refers to a record."""
    return RichPost("s", number, "ada", AT + number, text, kind, ref, data={"a": [1, 2.5, None, "é"]})


def dump(server: RedisServer) -> bytes:
    """Return the bytes that the server writes to its disk."""
    with server.client() as client:
        client.save()
        folder = Path(client.config_get("dir")["dir"])
        name: str = client.config_get("dbfilename")["dbfilename"]
        return (folder / name).read_bytes()


@pytest.mark.parametrize("place", [1, 2, 150, 299, 300], ids=["oldest", "second", "middle", "last but one", "newest"])
def test_a_deleted_text_is_in_no_dump(server: RedisServer, log: RoomLog, place: int) -> None:
    """Neither the record's nor its edit's; and every other record is read as it was."""
    posts = [say(number, SECRET if number == place else f"text {number}") for number in range(1, 301)]
    log.append("lobby", posts)
    log.append("lobby", [about(301, EDIT, place, f"{SECRET}, edited"), say(302, "after")])
    before = log.read("lobby", 0, 1000)
    assert SECRET.encode() in dump(server)
    log.append("lobby", [about(303, REDACT, place, "(deleted a message)")])
    assert SECRET.encode() not in dump(server)
    after = log.read("lobby", 0, 1000)
    assert [message.offset for message in after] == list(range(1, 304))
    for old, new in zip(before, after, strict=False):
        if old.offset in (place, 301):
            assert (new.id, new.by, new.at, new.text, new.kind, new.ref, new.data) == (
                old.id, old.by, old.at, GONE_TEXT, GONE, 0, {},
            )  # fmt: skip
        else:
            assert new == old
    assert log.extent("lobby")[1:] == (0, 303)
    for start, limit in ((0, 10), (place - 1, 1), (place - 1, 3), (140, 30), (298, 100)):
        assert log.read("lobby", start, limit) == after[start : start + limit]


@pytest.mark.parametrize("deleted", [(200, 100), (200, 72, 71, 328, 329), (401, 402, 403, 404, 299, 1)], ids=str)
def test_deletions_side_by_side_leave_nothing(server: RedisServer, log: RoomLog, deleted: tuple[int, ...]) -> None:
    """The bytes of a record that an earlier deletion moved, and of one that came after it, are gone as well."""
    posts = [say(number, f"{SECRET} {number}.") for number in range(1, 401)]
    places = {post.id: place.offset for post, place in zip(posts, log.append("lobby", posts), strict=True)}
    for number, each in enumerate(deleted, 401):
        (place,) = log.append("lobby", [say(number, f"{SECRET} {number}.")])
        places[number] = place.offset
        log.append("lobby", [about(1000 + number, REDACT, places[each])])
        assert f"{SECRET} {each}.".encode() not in dump(server)


def test_long_texts_are_gone_as_well(server: RedisServer, log: RoomLog) -> None:
    """A text that fills a node of the stream by itself is deleted with its node."""
    log.append("lobby", [say(1, "x"), say(2, SECRET * 400), say(3, "y" * 10_000)])
    log.append("lobby", [about(4, REDACT, 2)])
    assert SECRET.encode() not in dump(server)
    assert [len(message.text) for message in log.read("lobby", 0, 9)] == [1, len(GONE_TEXT), 10_000, 0]


@pytest.mark.parametrize("nodes", [0, 1000, 7], ids=["unbounded", "large", "small"])
def test_nodes_of_any_size_are_moved_whole(server: RedisServer, log: RoomLog, nodes: int) -> None:
    """However many entries the operator lets a node hold; what is aside has left no bytes in the stream."""
    with server.client() as client:
        client.config_set("stream-node-max-entries", nodes)
        client.config_set("stream-node-max-bytes", 20_000)
        log.append("lobby", [say(number, f"{SECRET} {number}.") for number in range(1, 1001)])
        for deleted in (500, 499, 501, 520, 480, 1, 1000):
            log.append("lobby", [about(1000 + deleted, REDACT, deleted)])
            assert f"{SECRET} {deleted}.".encode() not in dump(server)
        client.config_set("stream-node-max-entries", 100)
        client.config_set("stream-node-max-bytes", 4096)
    assert [message.offset for message in log.read("lobby", 0, 2000)] == list(range(1, 1008))


def test_a_deletion_moves_two_nodes_and_no_more(server: RedisServer, log: RoomLog) -> None:
    """Nor does one of a record that is aside already, of which there are hundreds around the first."""
    log.append("lobby", [say(number, f"{SECRET} {number}.") for number in range(1, 2001)])
    with server.client() as client:
        log.append("lobby", [about(3000, REDACT, 1000)])
        moved = [int(member.partition(" ")[0]) for member in client.zrange(key("lobby", "aside"), 0, -1)]
        assert moved == list(range(moved[0], moved[-1] + 1))
        assert 1000 in moved
        assert len(moved) <= 200
        for deleted in moved:
            log.append("lobby", [about(3000 + deleted, REDACT, deleted)])
        assert client.zcard(key("lobby", "aside")) == len(moved)
        data = dump(server)
        assert not [deleted for deleted in moved if f"{SECRET} {deleted}.".encode() in data]


def test_a_server_that_is_killed_has_deleted_or_not(tmp_path: Path) -> None:
    """Whenever it is killed, a record is gone if and only if its deletion is logged, and so are its edits."""
    with redis_server(tmp_path, *SYNCED) as server, closing(open_log(server.url)) as log:
        chance, numbers = random.Random(3), itertools.count(1)

        def talk(logged: list[int]) -> None:
            while True:
                (place,) = log.append("lobby", [say(next(numbers), SECRET * 10)])
                log.append("lobby", [about(next(numbers), EDIT, place.offset, SECRET), say(next(numbers))])
                log.append("lobby", [about(next(numbers), REDACT, place.offset)])
                logged.append(place.offset)

        def kill(due: int, logged: list[int]) -> None:
            eventually(lambda: len(logged) > due)
            server.kill()

        for _ in range(4):
            logged: list[int] = []
            killer = spawn("killer", kill, 20 + chance.randrange(100), logged)
            with pytest.raises(LogError):
                talk(logged)
            join_all([killer], 20)
            server.start()
        messages = log.read("lobby", 0, 100_000)
        assert [message.offset for message in messages] == list(range(1, len(messages) + 1))
        deleted = {message.ref for message in messages if message.kind == REDACT}
        assert len(deleted) > 20
        for message in messages:
            if message.kind == GONE:
                assert {message.offset, message.offset - 1} & deleted
            elif message.kind in ("", EDIT):
                assert (message.ref or message.offset) not in deleted


def test_a_deletion_sent_again_does_nothing(log: RoomLog) -> None:
    """It is told where it stands, and what was deleted is still known by its id."""
    log.append("lobby", [say(1, SECRET), about(2, REDACT, 1)])
    (again,) = log.append("lobby", [about(2, REDACT, 1)])
    assert (again.offset, again.duplicate) == (2, True)
    (known,) = log.append("lobby", [say(1, SECRET)])
    assert (known.offset, known.duplicate) == (1, True)
    assert [message.text for message in log.read("lobby", 0, 9)] == [GONE_TEXT, ""]


def test_no_other_room_is_touched(log: RoomLog) -> None:
    """Records at the same offsets of other rooms stay, also after the room is trimmed to nothing."""
    for room in ("lobby", "attic"):
        log.append(room, [say(1, "one"), say(2, "two")])
    log.append("lobby", [about(3, REDACT, 1)])
    while log.trim("lobby", 0, AT + 10**9, 10):
        pass
    assert [message.text for message in log.read("attic", 0, 9)] == ["one", "two"]
    assert log.read("lobby", 0, 9) == []
    assert log.extent("lobby")[1:] == (3, 3)
    log.append("lobby", [say(4, "four")])
    assert [message.offset for message in log.read("lobby", 0, 9)] == [4]


def test_a_trimmed_room_leaves_no_keys_behind(server: RedisServer, log: RoomLog) -> None:
    """What was moved aside, and the list of edits, is trimmed with the records that it is about."""
    log.append("lobby", [say(1), about(2, EDIT, 1, "one"), say(3), about(4, EDIT, 3, "three"), about(5, REDACT, 1)])
    while log.trim("lobby", 0, AT + 10**9, 3):
        pass
    with server.client() as client:
        assert client.zcard(key("lobby", "aside")) == 0
        assert client.zcard(key("lobby", "edits")) == 0


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 4)),
        st.tuples(st.sampled_from([EDIT, REDACT]), st.integers(1, 40)),
        st.tuples(st.just("trim"), st.integers(0, 12)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_redis_does_what_memory_does(log: RoomLog, actions: list[tuple[str, int]]) -> None:
    """Whatever is said, edited, deleted and trimmed, both engines show the same records."""
    room, numbers, plain = f"room {next(_rooms)}", itertools.count(1), MemoryLog()
    for what, amount in actions:
        if what == "trim":
            for each in (log, plain):
                each.trim(room, amount, AT + 10**9, 100)
            continue
        posts = [say(next(numbers), "x" * amount) for _ in range(amount)] if what == "say" else []
        posts = posts or [about(next(numbers), what, amount, "text")]
        for each in (log, plain):
            each.append(room, posts)
        assert log.read(room, 0, 1000) == plain.read(room, 0, 1000)
        assert log.extent(room)[1:] == plain.extent(room)[1:]
    assert log.read(room, 3, 5) == plain.read(room, 3, 5)
