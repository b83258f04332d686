"""The bytes of each message are fixed: golden vectors, checked with a second MessagePack library."""

from __future__ import annotations

import msgspec
import pytest

from parlour.wire.codec import encode, frame
from parlour.wire.errors import ProtocolError
from support.otherpack import pack, unpack
from support.vocabulary import CLASSES, DECODERS, GOLDEN, decoders_of


def test_every_message_has_a_vector() -> None:
    """Each message of the language has a vector, so its bytes are fixed."""
    assert set(CLASSES) - {vector.kind for vector in GOLDEN} == set()


def test_every_field_is_in_a_vector() -> None:
    """Each field of each message is in one vector at least, so its name on the wire is fixed."""
    missing = [
        f"{kind.__name__}.{field}"
        for kind in CLASSES
        for field in kind.__struct_fields__
        if not any(field in vector.map for vector in GOLDEN if vector.kind is kind)
    ]
    assert missing == []


def test_vector_decodes(subtests: pytest.Subtests) -> None:
    """Every decoder of a class decodes the bytes to the object that the JSON describes."""
    for vector in GOLDEN:
        with subtests.test(str(vector)):
            expected = msgspec.convert(vector.map, vector.kind)
            for decode in decoders_of(vector.kind):
                assert decode(vector.body) == expected


def test_vector_encodes(subtests: pytest.Subtests) -> None:
    """The object that the JSON describes encodes to exactly the bytes, framed or not."""
    for vector in GOLDEN:
        with subtests.test(str(vector)):
            message = msgspec.convert(vector.map, vector.kind)
            assert encode(message) == vector.body
            assert frame(message) == len(vector.body).to_bytes(4, "big") + vector.body


def test_other_library_reads_the_map(subtests: pytest.Subtests) -> None:
    """Another MessagePack library reads the same map from our bytes, with the type as a word."""
    for vector in GOLDEN:
        with subtests.test(str(vector)):
            read = unpack(encode(msgspec.convert(vector.map, vector.kind)))
            assert read == vector.map
            assert read.get("type") == vector.kind.__struct_config__.tag


def test_unknown_fields_are_ignored(subtests: pytest.Subtests) -> None:
    """A map with fields of a later version, before and after the known ones, decodes to the same object."""
    for vector in GOLDEN:
        with subtests.test(str(vector)):
            later = {"zz": {"deep": [1, None, b"\xff"]}, **vector.map, "aa": "new", "bb": 2**64 - 1}
            for decode in decoders_of(vector.kind):
                assert decode(pack(later)) == decode(vector.body)


def test_order_of_fields_does_not_matter(subtests: pytest.Subtests) -> None:
    """A writer in another language may put the fields, `type` among them, in any order."""
    for vector in GOLDEN:
        with subtests.test(str(vector)):
            backwards = dict(reversed(vector.map.items()))
            for decode in decoders_of(vector.kind):
                assert decode(pack(backwards)) == decode(vector.body)


def test_missing_or_mistyped_field_is_refused(subtests: pytest.Subtests) -> None:
    """A missing required field, or a field with a value of a wrong type, is a ProtocolError."""
    for vector in GOLDEN:
        with subtests.test(str(vector)):
            kind = vector.kind
            required = kind.__struct_fields__[: len(kind.__struct_fields__) - len(kind.__struct_defaults__)]
            for decode in decoders_of(kind):
                for field in required:
                    with pytest.raises(ProtocolError):
                        decode(pack({key: value for key, value in vector.map.items() if key != field}))
                for field in kind.__struct_fields__:
                    with pytest.raises(ProtocolError):
                        decode(pack({**vector.map, field: b"bytes are no type of ours"}))


@pytest.mark.parametrize(("union", "decode"), DECODERS, ids=lambda value: getattr(value, "__name__", ""))
def test_unknown_types_are_refused(union: object, decode: object) -> None:
    """An unknown `type`, a missing `type`, or a value that is no map is a ProtocolError."""
    assert callable(decode)
    for value in [{"type": "nope"}, {"type": ""}, {"type": 1}, {"type": None}, {}, [], ["ping"], "ping", 1, None, b""]:
        with pytest.raises(ProtocolError):
            decode(pack(value))


@pytest.mark.parametrize(
    "body",
    [
        pack({"type": "welcome", "node": "n1", "session": "s1"}),
        pack({"type": "message", "room": "r", "offset": 1, "id": "a-1", "by": "a", "at": 0, "text": ""}),
    ],
)
def test_client_may_not_send_node_messages(body: bytes) -> None:
    """The decoder of client messages does not know messages that only a node may send."""
    with pytest.raises(ProtocolError):
        DECODERS[0][1](body)
