"""The state of rooms in the room log: what was judged by an older state is not logged, on every engine."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parlour.node.log import LogError, Post, RichPost, RoomLog, StaleStateError, StateVersion
from parlour.node.log.memory import MemoryLog
from parlour.node.log.opening import open_log
from parlour.node.log.watched import WatchedLog
from parlour.runtime.threads import join_all, spawn
from support.opener import Opener
from support.redis_server import MISSING, SYNCED, redis_server

NEVER = 10**15
"""A time after all others, in ms since the Unix epoch."""


_rooms = itertools.count()


def post(number: int, session: str = "s") -> Post:
    """Return a plain post of ada's."""
    return Post(session, number, "ada", 1_700_000_000_000 + number, "hello")


def topic(number: int, session: str = "s") -> RichPost:
    """Return a state record of ada's."""
    return RichPost(session, number, "ada", 1_700_000_000_000 + number, "topic", "topic")


def version(log: RoomLog, room: str = "lobby") -> StateVersion:
    """Return the version of the room's state in the log."""
    return StateVersion(log.extent(room).epoch, log.state(room)[0])


def test_a_state_record_sets_the_state(opener: Opener) -> None:
    """The document comes back byte for byte, with the record's offset as its version; each room has its own."""
    log, other = opener(), opener()
    assert log.state("lobby") == (0, b"")
    document = bytes(range(256)) * 256
    log.append("lobby", [post(1), topic(2)], version(log), document)
    assert other.state("lobby") == log.state("lobby") == (2, document)
    other.append("lobby", [post(3)], version(other))
    other.append("lobby", [topic(4)], version(other), b"second")
    assert log.state("lobby") == (4, b"second")
    assert log.state("attic") == (0, b"")


def test_posts_judged_by_another_state_are_not_logged(opener: Opener) -> None:
    """The log answers with the newer state, on every node, and changes nothing."""
    log, other = opener(), opener()
    old = version(log)
    log.append("lobby", [topic(1)], old, b"first")
    for node in (log, other):
        for posts, state in (([post(2)], b""), ([post(2), topic(3)], b"second")):
            with pytest.raises(StaleStateError) as raised:
                node.append("lobby", posts, old, state)
            assert raised.value.version == (old.epoch, 1)
            assert raised.value.state == b"first"
        assert node.extent("lobby").top == 1
        assert node.state("lobby") == (1, b"first")
    assert other.append("lobby", [post(2)], raised.value.version)[0].offset == 2
    assert log.append("lobby", [post(3)])[0].offset == 3, "without a check nothing is checked"


def test_a_check_without_posts_logs_nothing(opener: Opener) -> None:
    """It tells whether the state is still the one that is known."""
    log = opener()
    old = version(log)
    assert log.append("lobby", [], old) == []
    log.append("lobby", [topic(1)], old, b"first")
    with pytest.raises(StaleStateError):
        log.append("lobby", [], old)
    assert log.append("lobby", [], version(log)) == []
    assert log.extent("lobby").top == 1
    assert [message.offset for message in log.read("lobby", 0, 9)] == [1]


def test_an_older_epoch_is_another_state(opener: Opener) -> None:
    """The same offset in an epoch that is over does not name the same state."""
    log = opener()
    log.append("lobby", [topic(1)], version(log), b"first")
    with pytest.raises(StaleStateError) as raised:
        log.append("lobby", [post(2)], StateVersion("0ld", 1))
    assert raised.value.version == version(log)
    assert log.append("lobby", [post(2)], raised.value.version)[0].offset == 2


def test_a_state_record_sent_again_changes_nothing(opener: Opener) -> None:
    """Its document is not stored again, and is not that of another record's version."""
    log, other = opener(), opener()
    log.append("lobby", [topic(1)], version(log), b"first")
    log.append("lobby", [topic(2)], version(log), b"second")
    (again,) = other.append("lobby", [topic(1)], version(other), b"from the first state")
    assert (again.offset, again.duplicate) == (1, True)
    assert log.state("lobby") == other.state("lobby") == (2, b"second")
    places = other.append("lobby", [post(3), topic(2)], version(other), b"again")
    assert [(place.offset, place.duplicate) for place in places] == [(3, False), (2, True)]
    assert log.state("lobby") == (2, b"second")


def test_the_state_survives_trimming_and_closing(opener: Opener) -> None:
    """Even with nothing left of the room, the state stands and is checked."""
    log = opener()
    log.append("lobby", [topic(1), post(2)])
    old = version(log)
    log.append("lobby", [topic(3)], old, b"kept")
    while log.trim("lobby", 0, NEVER, 10):
        pass
    assert log.extent("lobby")[1:] == (3, 3)
    if not isinstance(log, MemoryLog):
        log.close()
        log = opener()
    assert log.state("lobby") == (3, b"kept")
    with pytest.raises(StaleStateError):
        log.append("lobby", [post(4)], old)
    assert log.append("lobby", [post(4)], version(log))[0].offset == 4


def test_only_the_stale_of_several_callers_fail(opener: Opener) -> None:
    """Callers share transactions; each state has one successor, and each refusal names a newer one."""
    log, other = opener(), opener()
    won: list[int] = []

    def change(node: RoomLog, session: str) -> None:
        known = version(node)
        for number in range(1, 31):
            node.append("attic", [post(number, session)])
            while True:
                before = known
                try:
                    (place,) = node.append("lobby", [topic(number, session)], known, session.encode())
                except StaleStateError as stale:
                    known = stale.version
                else:
                    known = StateVersion(place.epoch, place.offset)
                    won.append(place.offset)
                    break
                assert known.offset > before.offset

    nodes = [(log, "a"), (other, "b"), (log, "c"), (other, "d")]
    join_all([spawn(f"changes-{session}", change, node, session) for node, session in nodes], 60)
    assert sorted(won) == list(range(1, 121))
    assert log.extent("attic").top == 120
    assert log.state("lobby")[0] == 120


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(1, 6), st.booleans()), max_size=20))
def test_engines_keep_the_state_that_a_dict_keeps(opener: Opener, deeds: list[tuple[int, int, int, bool]]) -> None:
    """Two nodes with what they know, fresh or stale, new posts and old: the state is that of the last new record."""
    nodes, room = (opener(), opener()), f"room {next(_rooms)}"
    known = [version(nodes[0], room)] * 2
    state = (0, b"")
    for node, plain, number, changes in deeds:
        posts: list[Post] = [post(100 * number + extra, "p") for extra in range(plain)]
        document = b""
        if changes:
            posts.append(topic(number))
            document = b"%d" % number
        posts = posts or [post(number)]
        if known[node].offset != state[0]:
            with pytest.raises(StaleStateError) as raised:
                nodes[node].append(room, posts, known[node], document)
            assert (raised.value.version.offset, raised.value.state) == state
            known[node] = raised.value.version
            continue
        places = nodes[node].append(room, posts, known[node], document)
        if changes and not places[-1].duplicate:
            state = (places[-1].offset, document)
        assert nodes[1 - node].state(room) == state


def test_a_stale_state_is_no_failure_of_the_log() -> None:
    """The operator is not told, and nothing is counted."""
    log = WatchedLog(MemoryLog())
    old = version(log)
    log.append("lobby", [topic(1)], old, b"first")
    with pytest.raises(StaleStateError):
        log.append("lobby", [post(2)], old)
    assert (log.errors, log.failure()) == (0, None)
    assert log.state("lobby") == (1, b"first")


def test_a_file_of_an_older_version_gets_states(tmp_path: Path) -> None:
    """It is opened as ever, and what an older node writes beside keeps the state."""
    path = tmp_path / "log.sqlite"
    with closing(open_log(f"sqlite://{path}")) as log:
        log.append("lobby", [post(1)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE states")
        connection.commit()
    with closing(open_log(f"sqlite://{path}")) as log:
        assert log.state("lobby") == (0, b"")
        log.append("lobby", [topic(2)], version(log), b"first")
        log.append("lobby", [post(3)])
        assert log.state("lobby") == (2, b"first")


def test_a_version_is_known_without_a_query(tmp_path: Path) -> None:
    """Only after another node's commit the file is asked for it."""
    asked: list[str] = []
    with (
        closing(open_log(f"sqlite://{tmp_path}/log.sqlite")) as log,
        closing(open_log(f"sqlite://{tmp_path}/log.sqlite")) as other,
    ):
        log.append("lobby", [topic(1)], version(log), b"first")
        known = version(log)
        log.append("lobby", [post(2)], known)
        log._file.writer.set_trace_callback(asked.append)  # type: ignore[attr-defined]
        for number in range(3, 8):
            log.append("lobby", [post(number)], known)
        assert not [query for query in asked if "states" in query]
        other.append("lobby", [post(8)], known)
        log.append("lobby", [post(9)], known)
        assert len([query for query in asked if "states" in query]) == 1


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_the_state_survives_a_killed_redis(tmp_path: Path) -> None:
    """With every write on its disk, the state of before is there, and the next check finds it."""
    with redis_server(tmp_path, *SYNCED) as server, closing(open_log(server.url)) as log:
        log.append("lobby", [topic(1)], version(log), b"\x00\xff first")
        known = version(log)
        server.kill()
        with pytest.raises(LogError):
            log.append("lobby", [post(2)], known)
        server.start(*SYNCED)
        assert log.state("lobby") == (1, b"\x00\xff first")
        assert log.append("lobby", [post(2)], known)[0].offset == 2


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_redis_that_forgot_everything_begins_another_state(tmp_path: Path) -> None:
    """The state that the nodes know is void then, though the offset may come again."""
    with redis_server(tmp_path) as server, closing(open_log(server.url)) as log:
        log.append("lobby", [topic(1)], version(log), b"first")
        known = version(log)
        server.kill()
        server.empty()
        server.start()
        with pytest.raises(StaleStateError) as raised:
            log.append("lobby", [post(2)], known)
        assert raised.value.version.offset == 0
        log.append("lobby", [topic(3)], raised.value.version, b"another")
        assert log.state("lobby") == (1, b"another")
        with pytest.raises(StaleStateError):
            log.append("lobby", [post(4)], known)
