"""The contract of the directory's engines, kept by every engine, and no acknowledged change lost to any death."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from parlour.directory.opening import open_store
from parlour.directory.store import DirectoryError, Document, Store
from parlour.runtime.threads import join_all, spawn
from support.opener import StoreOpener
from support.redis_server import MISSING, SYNCED, redis_cluster, redis_server
from support.waiting import MS, eventually

KEYS = ["name/ada", "name/}", "name/{", "name/{a}b", "name/a*?[x]\\", "name/комната", "name/🦜", "name/ a", "name/%7D"]
"""Keys with characters that mean something to an engine, or that UTF-8 and UTF-16 order differently."""


def put(store: Store, key: str, value: bytes, expected: str = "", ends: int = 0) -> str:
    """Store a document that nobody else changes, and return its version."""
    version = store.put(key, value, expected, ends)
    assert version
    return version


# --- the contract -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"", b"plain", bytes(range(256)), b"\r\n\0", b"x" * 100_000], ids=len)
def test_a_document_comes_back(opener: StoreOpener, value: bytes) -> None:
    """Every store sees the bytes, the version and the end that the writer gave, whatever the key."""
    store, other = opener(), opener()
    ends = store.now() + 60_000
    for key in KEYS:
        assert other.get(key) is None
        version = put(store, key, value, ends=ends)
        assert other.get(key) == store.get(key) == (version, value, ends)


def test_a_change_needs_the_version(opener: StoreOpener) -> None:
    """Only a writer that knows the newest version, or that there is no document, changes it."""
    store, other = opener(), opener()
    first = put(store, "name/ada", b"1")
    assert other.put("name/ada", b"x") is None
    assert other.put("name/ada", b"x", "0" * 16) is None
    assert other.put("name/bob", b"x", first) is None
    assert other.get("name/bob") is None
    second = put(other, "name/ada", b"2", first)
    assert second != first
    assert store.put("name/ada", b"x", first) is None
    assert not store.delete("name/ada", first)
    assert store.get("name/ada") == (second, b"2", 0)


def test_a_deleted_document_is_gone(opener: StoreOpener) -> None:
    """It is neither found nor listed nor changed any more; a new one may take its place."""
    store, other = opener(), opener()
    assert not store.delete("name/ada", "")
    version = put(store, "name/ada", b"1")
    put(store, "name/bob", b"1")
    assert other.delete("name/ada", version)
    assert not other.delete("name/ada", version)
    assert store.get("name/ada") is None
    assert store.keys("name/") == ["name/bob"]
    assert store.put("name/ada", b"x", version) is None
    put(store, "name/ada", b"2")
    assert other.keys("name/") == ["name/ada", "name/bob"]


def test_a_document_ends(opener: StoreOpener) -> None:
    """After its time it is as one that never was; a change may give it another end, or none."""
    store, other = opener(), opener()
    ended, prolonged, kept = (put(store, f"node/{n}", b"1", ends=store.now() + 300) for n in range(3))
    put(other, "node/1", b"2", prolonged, ends=store.now() + 60_000)
    put(other, "node/2", b"2", kept)
    assert store.keys("node/") == ["node/0", "node/1", "node/2"]
    eventually(lambda: other.get("node/0") is None)
    assert store.keys("node/") == ["node/1", "node/2"]
    assert store.put("node/0", b"x", ended) is None
    assert not store.delete("node/0", ended)
    put(store, "node/0", b"3")
    eventually(lambda: store.now() > 0)
    assert [other.get(f"node/{n}") is not None for n in range(3)] == [True] * 3


def test_keys_come_in_order(opener: StoreOpener) -> None:
    """All keys with a prefix, and no other, in the order of code points, page by page, however few are on a page."""
    store, other = opener(), opener()
    wanted = sorted([*KEYS, *(f"name/{n}" for n in range(2100))])
    for key in [*wanted, "name", "names/a", "nam", "own/ada", "name.ada"]:
        put(store, key, b"x")
    assert other.keys("name/", limit=10_000) == wanted
    for limit in (7, 1000):
        pages = []
        after = ""
        while page := other.keys("name/", after, limit):
            pages.append(page)
            after = page[-1]
        assert [key for page in pages for key in page] == wanted
        assert {len(page) for page in pages[:-1]} == {limit}
    assert other.keys("name/{") == ["name/{", "name/{a}b"]
    assert other.keys("name/a*") == ["name/a*?[x]\\"]
    assert other.keys("name/", after="name/zzz", limit=1) == ["name/{"]
    assert other.keys("nothing/") == []
    put(store, "name/zzzz", b"x")
    assert other.keys("name/", after="name/zzz", limit=1) == ["name/zzzz"]


def test_one_of_many_wins(opener: StoreOpener) -> None:
    """Of 20 writers that create one document at once one succeeds, and 20 that count together lose no count."""
    stores = [opener() for _ in range(4)]
    won: list[str] = []

    def race(number: int) -> None:
        store = stores[number % len(stores)]
        if store.put("name/ada", str(number).encode()):
            won.append(str(number))
        for _ in range(5):
            while True:
                count = store.get("count")
                more = str(int(count.value) + 1 if count else 1)
                if store.put("count", more.encode(), count.version if count else ""):
                    break

    join_all([spawn(f"writer-{n}", race, n) for n in range(20)], 30)
    document = stores[0].get("name/ada")
    assert document is not None
    assert won == [document.value.decode()]
    count = stores[0].get("count")
    assert count is not None
    assert count.value == b"100"


def test_time_goes_on(opener: StoreOpener) -> None:
    """The clock of a store is that of this machine here."""
    store, other = opener(), opener()
    before = store.now()
    eventually(lambda: other.now() > before)
    assert abs(other.now() - before) < 10_000


def test_ended_documents_are_forgotten(engine: str, opener: StoreOpener, tmp_path: Path) -> None:
    """An engine does not grow with documents that have ended or were deleted."""
    store = opener()

    def stored() -> int:
        match engine:
            case "memory":
                return len(store._documents)  # type: ignore[attr-defined]
            case "sqlite" | "sqlite-full":
                ((count,),) = store._writer.execute("SELECT count(*) FROM documents")  # type: ignore[attr-defined]
                return int(count)
            case _:
                return sum(server._client.dbsize() for server in store._servers.values())  # type: ignore[attr-defined]

    for number in range(300):
        store.delete(f"own/{number}", put(store, f"own/{number}", b"x", ends=0))
        put(store, f"failures/{number}", b"x", ends=store.now() + 20)

    def forgotten() -> bool:
        version = put(store, "name/ada", b"x", ends=store.now() + 1)
        assert version
        eventually(lambda: store.get("name/ada") is None)
        # Redis knows of what it keeps when each key ends, and finds those that have in its own time.
        return stored() <= (1 if not engine.startswith("redis") else 301)

    eventually(forgotten)


# --- deaths -------------------------------------------------------------------------------------------------

WRITER = """
import sys
from parlour.directory.opening import open_store
store, name = open_store(sys.argv[1]), sys.argv[2]
for number in range(1_000_000):
    version = store.put(f"own/{name}-{number}", b"x" * (number % 5000))
    if version is None or (number % 3 == 0 and not store.delete(f"own/{name}-{number}", version)):
        sys.exit("another writer?")
    print(f"{number} {version}\\n", end="", flush=True)  # one write: a death leaves no half of a line
"""


@pytest.mark.parametrize("engine", ["sqlite", "redis"])
def test_a_killed_writer_loses_nothing(engine: str, opener: StoreOpener, tmp_path: Path) -> None:
    """Two processes are killed while they write: everything acknowledged is there, whole, and others go on at once."""
    store, chance = opener(), random.Random(7)
    url = f"sqlite://{tmp_path}/log.sqlite" if engine == "sqlite" else store._home.url  # type: ignore[attr-defined]
    for turn in range(4):
        said: list[tuple[str, str, str]] = []
        writers = {
            name: subprocess.Popen([sys.executable, "-c", WRITER, url, name], stdout=subprocess.PIPE, text=True)
            for name in (f"{turn}-a", f"{turn}-b")
        }
        for name, writer in writers.items():
            assert writer.stdout is not None
            for _ in range(chance.randrange(5, 200)):
                number, version = writer.stdout.readline().split()
                said.append((name, number, version))
            writer.kill()
        for name, writer in writers.items():
            with writer:
                assert writer.stdout is not None
                said += [(name, number, version) for number, version in map(str.split, writer.stdout)]
            assert writer.wait(10_000 * MS) == -signal.SIGKILL
        for name, number, version in said:
            document = store.get(f"own/{name}-{number}")
            assert document == (None if int(number) % 3 == 0 else (version, b"x" * (int(number) % 5000), 0))
        put(store, f"name/{turn}", b"x")


def count_up(store: Store, key: str, stopped: threading.Event, counted: dict[str, int], failed: list[str]) -> None:
    """Write 1, 2, 3 … to a document until stopped; note each number that is acknowledged, and each failure."""
    version, unsure = "", False
    for number in itertools.count(1):
        if stopped.is_set():
            return
        try:
            document = store.get(key) if unsure else None
            stored = store.put(key, str(number).encode(), document.version if document else version)
        except DirectoryError as error:
            failed.append(str(error))
            unsure = True
            stopped.wait(20 * MS)
            continue
        if stored is None:
            failed.append(f"{key} has another writer")
            return
        version, unsure = stored, False
        counted[key] = number


def reached(counted: dict[str, int], goals: dict[str, int]) -> bool:
    """Whether each count is at its goal."""
    return all(counted.get(key, 0) >= goal for key, goal in goals.items())


def found(store: Store, key: str) -> Document | None:
    """Return a document, or nothing while the cluster does not work."""
    try:
        return store.get(key)
    except DirectoryError:
        return None


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("count", [1, 3], ids=["server", "cluster"])
def test_a_killed_server_loses_nothing(tmp_path: Path, count: int) -> None:
    """Servers that sync are killed five times while four threads write: no acknowledged change is lost."""
    with ExitStack() as stack:
        if count == 1:
            servers = [stack.enter_context(redis_server(tmp_path, *SYNCED))]
        else:
            servers = stack.enter_context(redis_cluster(tmp_path, *SYNCED))
        store = stack.enter_context(closing(open_store(servers[0].url)))
        counted, stopped, failed = dict[str, int](), threading.Event(), list[str]()
        keys = [f"own/{n}" for n in range(4)]
        threads = [spawn(f"writer-{key}", count_up, store, key, stopped, counted, failed) for key in keys]
        try:
            for turn in range(5):
                goals = {key: counted.get(key, 0) + 20 for key in keys}
                eventually(partial(reached, counted, goals), 20, what=f"20 more changes of each, of which {failed}")
                server = servers[turn % count]
                server.kill()
                server.start()
        finally:
            stopped.set()
            join_all(threads, 20)
        assert not [text for text in failed if "another writer" in text]
        assert count > 1 or len(failed) >= 5
        with closing(open_store(servers[-1].url)) as other:
            for key in keys:
                document = eventually(partial(found, other, key))
                assert document is not None
                assert int(document.value) >= counted[key] > 100
