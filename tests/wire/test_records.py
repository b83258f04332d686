"""Records: the kinds that a client may post, the limits of data, and readers of later kinds and types."""

from __future__ import annotations

import math
from typing import Any

import pytest

from parlour.wire.codec import NodeDecoder, check_batch, encode, frame, frames, most_bytes
from parlour.wire.errors import ProtocolError, UsageError
from parlour.wire.messages import Message, Ping, Say
from parlour.wire.records import MAX_DATA, MAX_REACTION, REDACT, check_data, post_fault
from support.otherpack import pack


def framed(body: bytes) -> bytes:
    """Return any bytes as the body of a frame."""
    return len(body).to_bytes(4, "big") + body


def test_plain_record_has_old_bytes() -> None:
    """A record without the new fields has the bytes that it had in protocol 1.0."""
    map_ = {"type": "message", "room": "lobby", "offset": 1, "id": "s-1", "by": "ada", "at": 5, "text": "hello"}
    assert encode(Message("lobby", 1, "s-1", "ada", 5, "hello")) == pack(map_)


@pytest.mark.parametrize(
    ("kind", "ref", "text", "fault"),
    [
        ("", 0, "hello", ""),
        ("", 7, "a reply", ""),
        ("action", 0, "waves", ""),
        ("notice", 0, "", ""),
        ("edit", 7, "hello!", ""),
        ("redact", 7, "", ""),
        ("react", 7, "👍", ""),
        ("edit", 0, "hello!", "give its offset as ref"),
        ("redact", 0, "", "give its offset as ref"),
        ("react", 7, "", "1 to 64 bytes"),
        ("react", 7, "a" * (MAX_REACTION + 1), "1 to 64 bytes"),
        ("topic", 0, "all is well", ""),
        ("gone", 7, "", "'gone'"),
        ("Edit", 7, "", "'Edit'"),
    ],
)
def test_kinds_a_client_may_post(kind: str, ref: int, text: str, fault: str) -> None:
    """A kind that clients may post must have its fields; other kinds are refused with a reason."""
    said = post_fault(kind, ref, text)
    assert fault in said
    assert bool(said) == bool(fault)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"text": b"bytes"}, "JSON"),
        ({"n": math.nan}, "finite"),
        ({"n": 2**53}, "whole numbers"),
        ({1: "x"}, "keys"),
        ({"a": "\ud800"}, "surrogates"),
        ({"a": "x" * MAX_DATA}, "4096"),
        ({"a": [[[[[[[[[[[[[[1]]]]]]]]]]]]]]}, "deep"),
    ],
)
def test_refused_data(data: Any, fault: str) -> None:
    """Data that JSON cannot carry, or that is too large or too deep, is refused."""
    with pytest.raises(UsageError, match=fault):
        check_data(data)
    with pytest.raises(UsageError, match=fault):
        Say("lobby", 1, "hello", data=data)


def test_deepest_data_is_accepted() -> None:
    """The deepest accepted data can be read in a message, which is nested in a page."""
    data: Any = {"a": [[[[[[[[[[[1]]]]]]]]]]]}
    Say("lobby", 1, "hello", data=data)
    message = Message("lobby", 1, "s-1", "ada", 5, "hello", data=data)
    assert check_batch(frames([message]), "lobby", 1, 1) == []


def test_batch_names_its_changes() -> None:
    """The check of a peer's batch returns the records that delete others or change the room."""
    messages = [
        Message("lobby", 5, "s-1", "ada", 5, "hello", "edit", 2),
        Message("lobby", 6, "s-2", "ada", 5, "deleted", REDACT, 2),
        Message("lobby", 7, "s-3", "ada", 5, "tea", "topic"),
    ]
    assert check_batch(frames(messages), "lobby", 5, 7) == messages[1:]


def test_batch_with_too_much_data_is_refused() -> None:
    """A batch with data over the limit is refused as a whole."""
    message = Message("lobby", 5, "s-1", "ada", 5, "hello", data={"a": "x" * MAX_DATA})
    with pytest.raises((ProtocolError, UsageError)):
        check_batch(frames([message]), "lobby", 5, 5)


def test_unknown_types_are_skipped() -> None:
    """A client's decoder skips messages of unknown types and reads on behind them."""
    later = framed(pack({"type": "later", "room": 5, "deep": [1, {"a": None}]}))
    decoder = NodeDecoder()
    assert list(decoder.feed(later + frame(Ping()) + later + frame(Ping()))) == [Ping(), Ping()]


def test_known_types_are_not_skipped() -> None:
    """A wrong message of a known type is still an error, and so is a map without a type."""
    for body in ({"type": "joined", "room": 5}, {"kind": "x"}, {"type": 5}):
        with pytest.raises(ProtocolError):
            list(NodeDecoder().feed(framed(pack(body))))


def test_unknown_kinds_are_read() -> None:
    """A record of a later kind is a message like any other, and its text can be shown."""
    body = {"type": "message", "room": "lobby", "offset": 1, "id": "s-1", "by": "ada", "at": 5, "text": "to you"}
    (message,) = NodeDecoder().feed(framed(pack(body | {"kind": "later", "level": 9})))
    assert isinstance(message, Message)
    assert (message.kind, message.text) == ("later", "to you")


def test_most_bytes_is_an_upper_bound() -> None:
    """The estimate for the filling of pages is never below the size of a message."""
    message = Message(
        "r" * 64, 2**53 - 1, "s" * 16 + "-9007199254740991", "b" * 64, 2**47, "é" * 999, "k" * 32, 2**53 - 1, "a" * 64,
        {"a": [1.5] * 99},
    )  # fmt: skip
    assert len(encode(message)) <= most_bytes(message)
