"""What a Redis server and the way to it can do to the directory in it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from redis.crc import key_slot

from parlour.directory.opening import open_store
from parlour.directory.redis import PREFIX
from parlour.directory.store import DirectoryError
from parlour.wire.errors import UsageError
from support.ports import free_ports
from support.proxy import Proxy
from support.redis_server import MISSING, SLOTS, SYNCED, RedisServer, redis_cluster, redis_server
from support.waiting import MS, eventually

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run one server for all tests here that do not kill it."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    """Give the server, emptied."""
    with running.client() as client:
        client.flushall()
        client.script_flush()
    return running


def test_a_lost_answer_does_no_harm(server: RedisServer) -> None:
    """A change whose answer was lost with the connection is repeated, and known for what it is: this writer's own."""
    proxy = Proxy()
    proxy.target = f"127.0.0.1:{server.port}"
    with ExitStack() as stack:
        proxy.start()
        stack.callback(proxy.stop)
        store = stack.enter_context(closing(open_store(f"redis://{proxy.address}/0")))
        version = store.put("name/ada", b"1")
        assert version
        proxy.cut_after(0)
        second = store.put("name/ada", b"2", version)
        assert store.get("name/ada") == (second, b"2", 0)
        assert second
        proxy.cut_after(0)
        assert store.delete("name/ada", second)
        assert proxy.cuts == 2
        assert store.get("name/ada") is None
        assert store.keys("") == []


def test_a_stuck_server_is_told_in_time(tmp_path: Path) -> None:
    """Calls to a server that has stopped fail within 5 s, the later ones at once; when it goes on, they succeed."""
    with redis_server(tmp_path) as server, closing(open_store(server.url)) as store:
        version = store.put("name/ada", b"1")
        server.signal(signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(DirectoryError, match=r"the directory in redis://.* does not answer .*: it is stuck"):
            store.put("name/ada", b"2", version or "")
        with pytest.raises(DirectoryError, match="it is stuck"):
            store.get("name/ada")
        assert time.monotonic() - begun < 5000 * MS
        server.signal(signal.SIGCONT)
        document = eventually(lambda: readable(server))
        assert document in (b"1", b"2")


def readable(server: RedisServer) -> bytes:
    """Return the content of ada's document, or nothing while the server does not answer."""
    try:
        with closing(open_store(server.url)) as store:
            document = store.get("name/ada")
    except DirectoryError:
        return b""
    return document.value if document else b""


def test_errors_are_one_line_and_keep_the_secret(server: RedisServer, tmp_path: Path) -> None:
    """Each way in which a server fails has its advice, and no error shows the password."""
    with redis_server(tmp_path, "--requirepass", "right") as locked:
        with pytest.raises(DirectoryError, match="check the user and password") as caught:
            open_store(f"redis://:wrong@127.0.0.1:{locked.port}/0")
        assert "wrong" not in str(caught.value)
        with closing(open_store(f"redis://:right@127.0.0.1:{locked.port}/0")) as store:
            assert store.put("name/ada", b"1")
            locked.kill()
            with pytest.raises(DirectoryError, match="see whether it runs") as caught:
                store.get("name/ada")
            assert "right" not in str(caught.value)
    with closing(open_store(server.url)) as store, server.client() as client:
        client.lpush(PREFIX + "name/bob", "x")
        with pytest.raises(DirectoryError, match="another program keeps keys"):
            store.get("name/bob")
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(DirectoryError, match="make room"):
                store.put("name/ada", b"1")
        finally:
            client.config_set("maxmemory", 0)
    with pytest.raises(UsageError) as usage:
        open_store("redis://:secret@127.0.0.1:0/x")
    assert "secret" not in str(usage.value)


def test_tls_is_spoken_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rediss://` works with a certificate that the system trusts, and with no other."""
    certificate, key = str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    request += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(request, check=True, capture_output=True, timeout=30)
    port = free_ports(1)
    options = ["--tls-port", str(port), "--tls-cert-file", certificate, "--tls-key-file", key]
    with redis_server(tmp_path, *options, "--tls-auth-clients", "no"):
        with pytest.raises(DirectoryError, match="certificate verify failed"):
            open_store(f"rediss://localhost:{port}/0")
        monkeypatch.setitem(os.environ, "SSL_CERT_FILE", certificate)
        with closing(open_store(f"rediss://localhost:{port}/0")) as store:
            assert store.put("name/ada", b"1")
            assert store.keys("name/") == ["name/ada"]


def test_replicas_are_waited_for(server: RedisServer, tmp_path: Path) -> None:
    """With `?wait=1` a change counts when a replica has it, and without one it fails, in words."""
    with closing(open_store(f"{server.url}?wait=1")) as store:
        with pytest.raises(DirectoryError, match="0 of 1 replicas have the change"):
            store.put("name/ada", b"1")
        options = ("--replicaof", "127.0.0.1", str(server.port))
        with redis_server(tmp_path, *options) as replica, replica.client() as client:
            eventually(lambda: client.info("replication")["master_link_status"] == "up")
            version = store.put("name/bob", b"1")
            assert version
            assert client.get(PREFIX + "name/bob") == f"{version}{0:016}1"
        assert store.get("name/ada") is not None  # the failed change is stored, or not: here it is


def test_a_server_that_forgets_scripts_is_met_again(server: RedisServer) -> None:
    """A restarted server lacks the script: it gets it anew, and no change is lost."""
    with closing(open_store(server.url)) as store, server.client() as client:
        version = store.put("name/ada", b"1")
        client.script_flush()
        assert store.put("name/ada", b"2", version or "")


def test_a_synced_server_rewrites_its_file_first(tmp_path: Path) -> None:
    """No change goes behind the torn end of an append-only file: see `redis_server`."""
    with redis_server(tmp_path, *SYNCED) as server:
        for _ in range(2):
            with closing(open_store(server.url)) as store, server.client() as client:
                assert client.info("persistence")["aof_last_rewrite_time_sec"] == -1
                store.put("name/ada", b"1")
                assert client.info("persistence")["aof_last_rewrite_time_sec"] >= 0
            server.kill()
            server.start()


def test_a_cluster_is_followed(tmp_path: Path) -> None:
    """Documents are on the servers of their slots; a slot that moves is followed, a dead server takes only its own."""
    with redis_cluster(tmp_path) as servers, closing(open_store(servers[0].url)) as store:
        keys = [f"name/{n}" for n in range(30)]
        versions = {key: store.put(key, b"1") for key in keys}
        slot = int(key_slot((PREFIX + keys[0]).encode()))
        source = next(n for n in range(3) if slot < SLOTS * (n + 1) // 3)
        target = (source + 1) % 3
        with servers[source].client() as giving, servers[target].client() as taking:
            names = giving.cluster("MYID"), taking.cluster("MYID")
            taking.cluster("SETSLOT", slot, "IMPORTING", names[0])
            giving.cluster("SETSLOT", slot, "MIGRATING", names[1])
            giving.migrate("127.0.0.1", servers[target].port, [PREFIX + keys[0]], 0, 5000)
            # The source answers ASK for what has moved.
            versions[keys[0]] = store.put(keys[0], b"2", versions[keys[0]] or "")
            assert versions[keys[0]]
            for client in (taking, giving):
                client.cluster("SETSLOT", slot, "NODE", names[1])
            assert store.keys("name/") == sorted(keys)
            assert store.put(keys[0], b"3", versions[keys[0]] or "")
        servers[2].kill()
        with closing(open_store(servers[1].url)) as other:
            found = 0
            for key in keys:
                try:
                    found += other.get(key) is not None
                except DirectoryError:
                    pass
            assert 0 < found < len(keys)
            with pytest.raises(DirectoryError, match="see whether it runs"):
                other.keys("name/")
