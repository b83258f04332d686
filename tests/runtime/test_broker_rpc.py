"""A request to a broker ends in time with one answer or one error, and leaves no socket behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import zmq

from parlour.runtime.addresses import endpoint
from parlour.runtime.broker_rpc import RefusedError, ask
from parlour.runtime.threads import join_all, spawn
from parlour.wire.codec import decode_request, encode
from parlour.wire.control import Describe, Described, Refused, Status
from parlour.wire.errors import ProtocolError, UnavailableError, UsageError
from support.waiting import MS

DESCRIBED = Described("b7", 6001, 6002)

PATIENCE = 10.0
"""Seconds in which an immediate answer arrives on any machine."""


@contextmanager
def answering(answer: Callable[[bytes], bytes | None], host: str = "127.0.0.1") -> Iterator[str]:
    """Run a ROUTER that answers one request on a socket of its own thread; yield its address."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.linger = 1000
        router.ipv6 = ":" in host
        port = router.bind_to_random_port(endpoint(host, 0).rpartition(":")[0])

        def serve() -> None:
            if router.poll(10_000):
                identity, body = router.recv_multipart()
                reply = answer(body)
                if reply is not None:
                    router.send_multipart([identity, reply])

        thread = spawn("answering", serve)
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        join_all([thread], timeout=15)


@contextmanager
def silent() -> Iterator[str]:
    """Yield an address that accepts connections and never sends anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_answer_comes_back(host: str) -> None:
    """The broker gets the request, and the caller gets the reply with the broker's address."""
    asked: list[object] = []

    def answer(body: bytes) -> bytes:
        asked.append(decode_request(body))
        return encode(DESCRIBED)

    with answering(answer, host) as broker:
        assert ask([broker], Describe(), timeout=PATIENCE) == (broker, DESCRIBED)
    assert asked == [Describe()]


def test_a_refusal_is_an_error() -> None:
    """`refused` becomes an error with the broker's text, its code, and the time to try again."""
    refused = Refused("full", "every node is full", 2.0)
    with (
        answering(lambda _: encode(refused)) as broker,
        pytest.raises(RefusedError, match=r"^every node is full$") as no,
    ):
        ask([broker], Status(), timeout=PATIENCE)
    assert (no.value.code, no.value.retry_after) == ("full", 2.0)


@pytest.mark.parametrize("junk", [b"", b"\xff", b"hello", encode(Describe()), b"\x81\xa4type\xa5\x1b[2J\n"], ids=ascii)
def test_junk_is_one_line(junk: bytes) -> None:
    """A peer that answers but is no broker is named in one printable line."""
    with answering(lambda _: junk) as broker, pytest.raises(ProtocolError) as caught:
        ask([broker], Describe(), timeout=PATIENCE)
    assert str(caught.value).startswith(f"{broker} does not answer like a broker")
    assert str(caught.value).isprintable()


def test_no_broker_answers() -> None:
    """With silence and a closed port the request fails after about its timeout; the error says where and what to do."""
    with dead() as closed, silent() as mute:
        started = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            ask([mute, closed], Describe(), timeout=1.0)
        took = time.monotonic() - started
    assert 0.9 < took < 1.0 + 800 * MS
    assert str(caught.value) == (
        f"no broker answers at {mute} or {closed}: start one with `parlour up -d --broker {mute}`, "
        "or name another with --broker"
    )


@contextmanager
def dead() -> Iterator[str]:
    """Yield an address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"127.0.0.1:{server.getsockname()[1]}"
    yield closed


@pytest.mark.parametrize("gone", [dead, silent])
def test_the_next_broker_is_asked_soon(gone: Callable[[], AbstractContextManager[str]]) -> None:
    """A closed port and a silent peer each cost a fraction of a second, not a share of the timeout."""
    with gone() as first, gone() as second, answering(lambda _: encode(DESCRIBED)) as broker:
        started = time.monotonic()
        assert ask([broker, first, second], Describe(), PATIENCE, first=first) == (broker, DESCRIBED)
        assert time.monotonic() - started < 0.5 + 800 * MS


def test_a_slow_broker_is_heard() -> None:
    """A broker that was asked first may answer after the second broker was asked."""
    hedged = threading.Event()

    def answer_late(_: bytes) -> bytes | None:
        return encode(DESCRIBED) if hedged.wait(PATIENCE) else None

    with answering(answer_late) as slow, answering(lambda _: hedged.set()) as other:
        assert ask([other, slow], Describe(), PATIENCE, first=slow) == (slow, DESCRIBED)


def test_a_refusal_is_an_answer() -> None:
    """After a refusal no other broker is asked."""
    refused = Refused("no_node", "there is no node", 1.0)
    with answering(lambda _: encode(refused)) as broker, silent() as mute, pytest.raises(RefusedError) as no:
        ask([mute, broker], Status(), PATIENCE, first=broker)
    assert no.value.broker == broker


def test_a_wrong_address_is_a_usage_error() -> None:
    """An invalid address is a UsageError, before anything is sent."""
    with pytest.raises(UsageError, match="HOST:PORT"):
        ask(["nowhere"], Describe())
    with pytest.raises(UsageError, match="--broker"):
        ask([], Describe())


def test_endpoints() -> None:
    """ZeroMQ needs an IPv6 address in brackets."""
    assert endpoint("127.0.0.1", 6000) == "tcp://127.0.0.1:6000"
    assert endpoint("::1", 6000) == "tcp://[::1]:6000"
