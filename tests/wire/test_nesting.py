"""The decoding of nested messages is safe: up to 16 levels are read; more are the peer's fault."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.wire.codec import ClientDecoder, Decoder, NodeDecoder, decode_ticket, encode
from parlour.wire.control import Ticket
from parlour.wire.errors import ProtocolError
from parlour.wire.messages import Message, Page, Ping, Say
from support.otherpack import pack
from support.vocabulary import DECODERS

OPENINGS: list[bytes] = [
    b"\x91",
    b"\x81\xa1k",
    b"\xdc\x00\x01",
    b"\xdd\x00\x00\x00\x01",
    b"\xde\x00\x01\xa1k",
    b"\xdf\x00\x00\x00\x01\xa1k",
    b"\x92\xc3",
    b"\x93\xd9\x02\x91\x91\xc7\x01\x05\x91",
    b"\x92\xd6\x91\x91\x91\x91\x91",
    b"\x92\xca\x91\x91\x91\x91",
    b"\x92\xc4\x01\x91",
]
"""The ways in which a level may open: all kinds of maps and lists, and values before the next level."""


def nested(depth: int, opening: bytes = b"\x91") -> bytes:
    """Return a `ping` with an unknown nested field; the map itself is the first of `depth` levels."""
    return b"\x82\xa4type\xa4ping\xa1x" + opening * (depth - 1) + b"\xc0"


def framed(body: bytes) -> bytes:
    """Return the body as a frame."""
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("opening", OPENINGS, ids=bytes.hex)
def test_limit_of_levels(opening: bytes) -> None:
    """An unknown field may have 16 levels, and no more, of all kinds of maps and lists."""
    assert list(ClientDecoder().feed(framed(nested(16, opening)))) == [Ping()]
    with pytest.raises(ProtocolError, match="16 deep") as caught:
        list(ClientDecoder().feed(framed(nested(17, opening))))
    assert caught.value.code == "bad_frame"


@pytest.mark.parametrize("decode", [decoder for _, decoder in DECODERS], ids=lambda _: "")
def test_all_decoders_have_the_limit(decode: Decoder[Any]) -> None:
    """The limit holds for all messages between brokers, nodes and monitors, too."""
    for body in (nested(60_000), nested(17), b"\x91" * 60_000):
        with pytest.raises(ProtocolError):
            decode(body)
        with pytest.raises(ProtocolError):
            decode(memoryview(body))
    with pytest.raises(ProtocolError):
        list(NodeDecoder().feed(framed(nested(17))))
    with pytest.raises(ProtocolError) as caught:
        decode_ticket(base64.urlsafe_b64encode(nested(17)).decode())
    assert caught.value.code == "bad_ticket"


def test_wide_messages_are_read() -> None:
    """A page with many messages, a text with bytes that could open lists, and a long flat map are read."""
    messages = [Message("r", offset, f"s-{offset}", "Ада", 1, "привет, 你好") for offset in range(1, 201)]
    page = Page("r", "e", 201, 0, 0, messages)
    assert list(NodeDecoder().feed(framed(encode(page)))) == [page]
    say = Say("r", 1, "Бу" * 4000)
    assert list(ClientDecoder().feed(framed(encode(say)))) == [say]
    flat = {"type": "ping", **{str(number): [number, {}] for number in range(3000)}}
    assert list(ClientDecoder().feed(framed(pack(flat)))) == [Ping()]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def depth_of(value: object) -> int:
    """Return the number of nested maps and lists."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(value=values, levels=st.integers(0, 20))
def test_depth_alone_decides(value: object, levels: int) -> None:
    """For any value that the other library packs, only the depth decides whether it is read."""
    for _ in range(levels):
        value = [value, "…"] if levels % 2 else {"k": value}
    whole = {"type": "ping", "x": value}
    decode: Callable[[bytes], object] = Decoder(Ping)
    if depth_of(whole) <= 16:
        assert decode(pack(whole)) == Ping()
    else:
        with pytest.raises(ProtocolError, match="16 deep"):
            decode(pack(whole))


def test_small_stack_survives() -> None:
    """On a thread with a node's small stack, the deepest frame is an error, and the process lives on."""
    program = (
        "import threading\n"
        "from parlour.wire.codec import ClientDecoder\n"
        "from parlour.wire.errors import ProtocolError\n"
        "body = b'\\x82\\xa4type\\xa4ping\\xa1x' + b'\\x91' * 65000 + b'\\xc0'\n"
        "def read():\n"
        "    try:\n"
        "        list(ClientDecoder().feed(len(body).to_bytes(4, 'big') + body))\n"
        "    except ProtocolError as error:\n"
        "        print(error.code)\n"
        "threading.stack_size(256 * 1024)\n"
        "thread = threading.Thread(target=read)\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "bad_frame\n")


def test_valid_ticket_is_read() -> None:
    """The limit does not affect a ticket."""
    ticket = Ticket("n1", "Ада", 1.0, "t")
    text = base64.urlsafe_b64encode(encode(ticket)).decode()
    assert decode_ticket(text) == ticket
