"""A stream of bytes, split or broken in any way, gives messages or a ProtocolError and nothing else."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.wire.codec import ClientDecoder, Decoder, NodeDecoder, decode_ticket, encode, frame, skip_frames
from parlour.wire.errors import ProtocolError, UsageError
from parlour.wire.limits import MAX_FRAME
from parlour.wire.messages import Bye, ClientMessage, Error, Hello, Message, Ping, Pong, Say
from support.otherpack import pack
from support.strategies import instances
from support.vocabulary import DECODERS, GOLDEN

client_streams = st.lists(st.one_of([instances(kind) for kind in (Hello, Say, Ping, Bye)]), max_size=8)


def framed(body: bytes) -> bytes:
    """Return any bytes as the body of a frame."""
    return len(body).to_bytes(4, "big") + body


def read(data: bytes) -> tuple[list[ClientMessage], ProtocolError | None]:
    """Return the messages that a fresh decoder finds in the bytes, and the error that ended them, if any."""
    found: list[ClientMessage] = []
    try:
        for message in ClientDecoder().feed(data):
            found.append(message)
    except ProtocolError as error:
        return found, error
    return found, None


@given(messages=client_streams, data=st.data())
def test_any_split(messages: list[ClientMessage], data: st.DataObject) -> None:
    """For all cuts of the stream, also empty pieces, the same messages come out in order."""
    stream = b"".join(frame(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = ClientDecoder()
    found = [
        message
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for message in decoder.feed(stream[start:end])
    ]
    assert found == messages


def test_byte_by_byte() -> None:
    """A frame comes out exactly at its last byte."""
    decoder, data = ClientDecoder(), frame(Say("lobby", 1, "hello"))
    for byte in data[:-1]:
        assert list(decoder.feed(bytes([byte]))) == []
    assert list(decoder.feed(data[-1:])) == [Say("lobby", 1, "hello")]


@pytest.mark.parametrize("size", [MAX_FRAME + 1, 2**31, 2**32 - 1])
def test_too_large_frame_is_refused_at_once(size: int) -> None:
    """A length above the limit, up to 4 GiB, is refused before the decoder waits for the body."""
    found, error = read(size.to_bytes(4, "big"))
    assert found == []
    assert error is not None
    assert error.code == "frame_too_large"


def test_largest_frame_is_accepted() -> None:
    """A body of exactly the limit passes in both directions; one byte more passes in neither."""
    spare = MAX_FRAME - len(encode(Bye("x" * 40_000)))
    message = Bye("x" * (40_000 + spare))
    data = frame(message)
    assert len(data) == 4 + MAX_FRAME
    assert read(data) == ([message], None)
    with pytest.raises(UsageError, match="at most 65536 bytes"):
        frame(Bye(message.reason + "x"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        encode(Ping())[:-1],
        encode(Ping()) + b"\x00",
        b"\x83\xa4type\xa5hello\xa4name\xa2\xff\xfe\xa6ticket\xa0",
        b"\x82\xa4type\xa4ping\xa1x" + b"\x91" * 60_000 + b"\x00",
        b"\x82\xa4type\xa4ping\xa1x\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff\xa4type",
        b"\x82\xa4type\xa4ping\xa1x\xc6\xff\xff\xff\xff",
        b'{"type": "ping"}',
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=[
        "empty",
        "never-used",
        "cut",
        "trailing",
        "not-utf8",
        "deep",
        "long-array",
        "long-map",
        "long-bytes",
        "json",
        "http",
    ],
)
def test_broken_bodies(body: bytes) -> None:
    """Each broken body is a ProtocolError with one short printable line."""
    found, error = read(framed(body))
    assert found == []
    assert error is not None
    assert error.code == "bad_frame"
    assert str(error).isprintable()
    assert len(str(error)) < 300


@pytest.mark.parametrize("kind", ["\x1b[2J\r\n", "x" * 60_000, "\u202eevil"])
def test_errors_quote_safely(kind: str) -> None:
    """The peer's bytes in an error's text are short and printable, and fit into an error frame."""
    _, error = read(framed(pack({"type": kind})))
    assert error is not None
    assert str(error).isprintable()
    assert len(frame(Error("bad_frame", str(error)))) < 1024


def test_messages_before_a_fault_come_out() -> None:
    """Complete messages before a broken frame in the same feed are not lost."""
    found, error = read(frame(Ping()) + frame(Pong()) + framed(b"\xc1") + frame(Ping()))
    assert found == [Ping(), Pong()]
    assert error is not None


def test_nothing_follows_a_broken_frame() -> None:
    """After an error the decoder refuses all further bytes, also valid frames."""
    decoder = ClientDecoder()
    with pytest.raises(ProtocolError):
        list(decoder.feed(framed(b"\xc1")))
    for data in (frame(Ping()), b""):
        with pytest.raises(ProtocolError, match="broken frame came before"):
            list(decoder.feed(data))


@given(data=st.binary(max_size=400))
def test_random_streams(data: bytes) -> None:
    """Random bytes give messages, a wait for more bytes, or a ProtocolError, never another exception."""
    read(data)
    read(framed(data))


@pytest.mark.parametrize("decode", [decoder for _, decoder in DECODERS], ids=lambda _: "")
@given(data=st.binary(max_size=200))
def test_random_bodies(decode: Decoder[Any], data: bytes) -> None:
    """No decoder of the wire raises anything but ProtocolError for random bytes."""
    try:
        decode(data)
    except ProtocolError:
        pass


@given(data=st.data())
def test_damaged_bodies(data: st.DataObject) -> None:
    """A valid message with some bytes changed or cut off gives a message or a ProtocolError in every decoder."""
    body = bytearray(data.draw(st.sampled_from(GOLDEN)).body)
    for index, value in data.draw(st.lists(st.tuples(st.integers(0, len(body) - 1), st.integers(0, 255)), max_size=4)):
        body[index] = value
    damaged = bytes(body[: data.draw(st.integers(0, len(body)))])
    for _, decode in DECODERS:
        try:
            decode(damaged)
        except ProtocolError:
            pass
    try:
        decode_ticket(base64.urlsafe_b64encode(damaged).decode())
    except ProtocolError:
        pass


def test_client_reads_a_node() -> None:
    """A client reads a node's messages in order, and a node's decoder refuses them."""
    said = [Message("lobby", offset, f"s1-{offset}", "ada", 0, "x") for offset in range(1, 4)]
    stream = b"".join(frame(message) for message in said)
    assert list(NodeDecoder().feed(stream)) == said
    assert read(stream)[1] is not None


@given(bodies=st.lists(st.binary(max_size=300), max_size=6))
def test_skip_frames(bodies: list[bytes]) -> None:
    """The index behind any number of joined frames is the first byte of the next frame."""
    joined = b"".join(framed(body) for body in bodies)
    for count in range(len(bodies) + 1):
        expected = b"".join(framed(body) for body in bodies[count:])
        assert joined[skip_frames(joined, count) :] == expected
        assert joined[skip_frames(memoryview(joined), count) :] == expected
