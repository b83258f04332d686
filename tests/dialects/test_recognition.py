"""The first bytes of a connection tell its dialect."""

from __future__ import annotations

import pytest

from parlour.dialects import recognise
from parlour.dialects.frames import FramesDialect
from parlour.dialects.jsonlines import JSON, JsonLinesDialect
from parlour.wire.codec import frame
from parlour.wire.errors import ProtocolError
from parlour.wire.messages import Bye, Hello, Ping


def test_frames() -> None:
    """A frame begins with a zero, which is enough to know it."""
    data = frame(Hello("ada", "t", "1.0")) + frame(Bye())
    for first in (data, data[:1], data[:5], frame(Ping())):
        dialect = recognise(first)
        assert isinstance(dialect, FramesDialect)
        assert (dialect.variant, dialect.tolerant) == (None, False)
    assert list(recognise(data).feed(data)) == [Hello("ada", "t", "1.0"), Bye()]


def test_json_lines() -> None:
    """An object begins with a brace, perhaps behind white space or a byte order mark."""
    for before in (b"", b" ", b"\r\n\t ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"):
        data = before + b'{"type":"ping"}\n'
        dialect = recognise(data)
        assert isinstance(dialect, JsonLinesDialect)
        assert (dialect.variant, dialect.tolerant) == (JSON, True)
        assert list(dialect.feed(data)) == [Ping()]
    for first in (b"{", b"\n", b"\xef\xbb\xbf"):
        assert isinstance(recognise(first), JsonLinesDialect)


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n", b"NICK a", b"\x16\x03\x01", b"\xff\xff\xff\xff", b" x", b"["])
def test_others(first: bytes) -> None:
    """What is not understood is refused as it always was, with a text that tells what came and what could."""
    with pytest.raises(ProtocolError) as caught:
        recognise(first)
    assert caught.value.code == "frame_too_large"
    assert str(caught.value) == (
        f"no frame of parlour's, as it begins with {first[:4]!r}: send frames, or JSON objects, one on each line"
    )
