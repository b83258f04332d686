"""JSON lines carry what frames carry: the same messages in, the same maps out, and a wrong line harms nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.dialects.frames import FramesDialect
from parlour.dialects.jsonlines import JSON, JsonLinesDialect
from parlour.wire.codec import encode, frame, frames
from parlour.wire.errors import ProtocolError
from parlour.wire.limits import MAX_DEPTH, MAX_FRAME, PROTOCOL
from parlour.wire.messages import Bye, ClientMessage, Error, Hello, Message, NodeMessage, Ping, Pong, Say
from support.otherpack import pack, unpack
from support.strategies import instances
from support.vocabulary import GOLDEN, Vector

CLIENT = [vector for vector in GOLDEN if vector.kind in get_args(ClientMessage)]
NODE = [vector for vector in GOLDEN if vector.kind in get_args(NodeMessage)]

client_messages = st.one_of([instances(kind) for kind in get_args(ClientMessage)])
node_messages = st.one_of([instances(kind) for kind in get_args(NodeMessage)])


def read(*pieces: bytes) -> list[ClientMessage | Error]:
    """Return what a fresh dialect makes of the pieces."""
    dialect = JsonLinesDialect()
    return [message for piece in pieces for message in dialect.feed(piece)]


def fault(line: bytes) -> Error:
    """Return the error that a wrong line is answered with."""
    (error,) = read(line + b"\n")
    assert isinstance(error, Error)
    return error


def with_version(message: msgspec.Struct) -> msgspec.Struct:
    """Return the message as JSON lines read it: a hello without a version is of this one."""
    if isinstance(message, Hello) and not message.protocol:
        return msgspec.structs.replace(message, protocol=PROTOCOL)
    return message


# --- what a client sends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", CLIENT, ids=str)
def test_golden_lines(vector: Vector) -> None:
    """Each golden map, written as JSON by another library, gives the object that its frame gives."""
    expected = with_version(msgspec.convert(vector.map, vector.kind))
    for ascii_only in (True, False):
        line = json.dumps(vector.map, ensure_ascii=ascii_only).encode()
        assert read(line + b"\n") == [expected]


@given(messages=st.lists(client_messages, max_size=8), data=st.data())
def test_any_split(messages: list[ClientMessage], data: st.DataObject) -> None:
    """Wherever the stream is cut, the same messages come out as from frames, in order."""
    expected = [with_version(message) for message in FramesDialect().feed(frames(messages))]
    end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \r\n\t\n"]))
    stream = b"".join(msgspec.json.encode(message) + end for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*pieces) == expected


def test_byte_by_byte() -> None:
    """A message comes out with its line's end, not before."""
    dialect = JsonLinesDialect()
    for byte in b'{"type":"ping"}':
        assert list(dialect.feed(bytes([byte]))) == []
    assert list(dialect.feed(b"\n")) == [Ping()]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"{", "line 1: this is not a whole JSON object"),
        (b"hello?", "line 1, character 1: JSON is malformed: invalid character"),
        ('{"type":"ping","é":1 x}'.encode(), "line 1, character 22: JSON is malformed: expected ',' or '}'"),
        (b'{"type":"ping"}{}', "line 1, character 16: JSON is malformed: trailing characters"),
        (b"[]", "line 1: expected `object`, got `array`"),
        (b"{}", "line 1: object missing required field `type`"),
        (b'{"type":"welcome"}', "line 1: invalid value 'welcome' at `$.type`"),
        (b'{"type":"join","room":"a b"}', "line 1: a room name may not contain white space: 'a b' could be 'a_b'"),
        (b'{"type":"join","after":5.0,"room":" "}', "line 1: expected `int | null`, got `float` at `$.after`"),
        (b'{"type":"join","after":1e2,"room":" "}', "line 1: expected `int | null`, got `float` at `$.after`"),
        (b'{"type":"join","room":"a","after":NaN}', "line 1, character 35: JSON is malformed: invalid character"),
        (b'{"type":"bye","reason":"\xff"}', "line 1, character 25: not UTF-8"),
        (b'{"type":"bye","reason":"\xed\xa0\x80"}', "line 1, character 25: not UTF-8"),
        (b"[" * 60_000, f"line 1: objects and arrays may be nested {MAX_DEPTH} deep, not deeper"),
        (b'{"type":"\\u001b[2J\\u202e"}', "line 1: invalid value '?[2J?' at `$.type`"),
    ],
)
def test_wrong_lines(line: bytes, text: str) -> None:
    """Each way for a line to be wrong gives an error of one printable line that says where; the next line is read."""
    assert read(line + b'\n{"type":"ping"}\n') == [Error("bad_line", text), Ping()]


def test_lone_surrogates() -> None:
    """Half of a pair of escapes is no character, in any field."""
    for half in (b"\\ud800", b"\\udc00", b"\\udc00\\ud800", b"\\ud800x"):
        assert fault(b'{"type":"bye","reason":"%s"}' % half).code == "bad_line"
        assert fault(b'{"type":"say","room":"r","id":1,"text":"","data":{"a":"%s"}}' % half).code == "bad_line"
    assert read(b'{"type":"bye","reason":"\\ud83d\\ude00"}\n') == [Bye("😀")]


def test_numbers_json_has_and_the_wire_has_not() -> None:
    """Numbers of any length are read or refused, never an overflow."""
    for number in (b"1e999", b"-1e999", b"9007199254740992", b"1" * 5000, b"1" * 60_000, b"-1", b"true"):
        error = fault(b'{"type":"history","room":"r","before":%s}' % number)
        assert error.code == "bad_line"
        assert error.text.isprintable()
        assert len(error.text) < 300
    assert fault(b'{"type":"say","room":"r","id":1,"text":"","data":{"a":1e999}}').id == 1
    line = b'{"type":"say","room":"r","id":9007199254740991,"text":"","data":{"a":-9007199254740991,"b":1.0}}\n'
    assert read(line) == [Say("r", 2**53 - 1, "", data={"a": -(2**53) + 1, "b": 1.0})]


def test_an_error_names_its_post() -> None:
    """The error has the line's room and id where both can be read, so that a program knows which post failed."""
    error = fault(b'{"type":"say","room":"lobby","id":7,"text":5}')
    assert error == Error("bad_line", "line 1: expected `str`, got `int` at `$.text`", "lobby", 7)
    for room, number in ((b'["lobby"]', b'"7"'), (b'"a b"', b"0"), (b"null", b"true"), (b"{}", b"7.0"), (b"1", b"-7")):
        error = fault(b'{"type":"say","room":%s,"id":%s,"text":5}' % (room, number))
        assert (error.room, error.id) == (None, None)
    assert fault(b'{"type":"say","room":"lobby","id":7,"text":5').room is None


def test_lines_are_counted() -> None:
    """The number in an error is the line's in the connection: blank lines and right ones count."""
    errors = read(b'\n{"type":"ping"}\r\n \t\nx\n', b"\n\ny", b"\nz\n")
    assert [error.text.partition(",")[0] for error in errors if isinstance(error, Error)] == [
        "line 4",
        "line 7",
        "line 8",
    ]


def test_a_byte_order_mark() -> None:
    """A mark before the first line is ignored; anywhere else it is wrong."""
    assert read(b'\xef\xbb\xbf{"type":"ping"}\n') == [Ping()]
    assert read(b'\xef\xbb\xbf\n{"type":"ping"}\n') == [Ping()]
    assert read(b'{"type":"ping"}\n\xef\xbb\xbf{"type":"ping"}\n')[1] == Error(
        "bad_line", "line 2, character 1: JSON is malformed: invalid character"
    )


@pytest.mark.parametrize("ended", [True, False])
def test_too_long_a_line(ended: bool) -> None:
    """One byte over 64 KiB, in a line that has ended or not, ends the connection behind the messages before it."""
    longest = b'{"type":"ping"}'.ljust(MAX_FRAME)
    dialect = JsonLinesDialect()
    assert list(dialect.feed(longest)) == []
    assert list(dialect.feed(b"\n")) == [Ping()]
    found: list[ClientMessage | Error] = []
    with pytest.raises(ProtocolError, match="line 3 has more than 65536 bytes") as caught:
        found.extend(dialect.feed(b'{"type":"pong"}\n' + longest + (b" \n" if ended else b" ")))
    assert found == [Pong()]
    assert caught.value.code == "line_too_long"
    with pytest.raises(ProtocolError, match="nothing can follow"):
        list(dialect.feed(b'{"type":"ping"}\n'))


def test_a_line_without_end_in_pieces() -> None:
    """Pieces of one byte are refused at the same length, and take no time that grows with its square."""
    dialect = JsonLinesDialect()
    began = time.perf_counter()
    for _ in range(MAX_FRAME):
        list(dialect.feed(b"x"))
    with pytest.raises(ProtocolError, match="line 1 has more"):
        list(dialect.feed(b"x"))
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("piece", [b'"', b'\\"', b'"\\', b"[]", b"[", b'"[', b"\\", b'"\\"', b"{}", b'[""]'])
def test_depth_takes_linear_time(piece: bytes) -> None:
    """No line of quotes, brackets and escapes takes long to look into, alone or behind what looks right."""
    began = time.perf_counter()
    for start in (b"", b"[" * 17, b'{"type":"ping","x":' + b"[" * 9 + b'"', b'"' + b"[" * 17):
        fault(start + piece * (60_000 // len(piece)))
    assert time.perf_counter() - began < 2


def test_brackets_in_texts_are_no_depth() -> None:
    """A text may have any number of brackets, quoted quotes among them; breadth is no depth either."""
    text = '[{"\\' * 1000
    line = json.dumps({"type": "say", "room": "r", "id": 1, "text": text}).encode() + b"\n"
    assert read(line) == [Say("r", 1, text)]
    flat = json.dumps({"type": "ping", **{str(number): [number, {}] for number in range(3000)}})
    assert read(flat.encode() + b"\n") == [Ping()]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


def depth_of(value: object) -> int:
    """Return how deep maps and lists are nested."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(value=values, levels=st.integers(0, 20))
def test_unknown_fields_may_hold_anything(value: object, levels: int) -> None:
    """Of any value in a later version's field the depth alone decides."""
    for _ in range(levels):
        value = [value, '"[{'] if levels % 2 else {"k\\": value}
    whole = {"type": "ping", "x": value}
    (message,) = read(json.dumps(whole).encode() + b"\n")
    assert message == Ping() if depth_of(whole) <= MAX_DEPTH else isinstance(message, Error)


def test_the_smallest_stack_bears_it() -> None:
    """On a thread with a node's small stack the deepest line is an error, and the process lives."""
    program = (
        "import threading\n"
        "from parlour.dialects.jsonlines import JsonLinesDialect\n"
        "def read():\n"
        "    for line in (b'[' * 65000, b'{\"type\":\"ping\",\"x\":' + b'[' * 65000, b'{\"a\":' * 13000):\n"
        "        (error,) = JsonLinesDialect().feed(line + b'\\n')\n"
        "        print(error.code)\n"
        "threading.stack_size(256 * 1024)\n"
        "thread = threading.Thread(target=read)\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "bad_line\n" * 3)


@given(data=st.binary(max_size=400))
def test_random_lines(data: bytes) -> None:
    """Random bytes give messages and errors that fit a frame, never an exception."""
    for message in read(data, b"\n"):
        assert len(frame(message)) < 1024


@given(data=st.data())
def test_damaged_lines(data: st.DataObject) -> None:
    """A true line with some bytes changed or cut away gives a message or an error."""
    line = bytearray(json.dumps(data.draw(st.sampled_from(CLIENT)).map, ensure_ascii=False).encode())
    for index, value in data.draw(st.lists(st.tuples(st.integers(0, len(line) - 1), st.integers(0, 255)), max_size=4)):
        line[index] = value
    read(bytes(line[: data.draw(st.integers(0, len(line)))]) + b"\n")


def test_hello_needs_no_version() -> None:
    """By hand nobody gives one: the version is this one; one that is given stays."""
    assert read(b'{"type":"hello","name":"ci"}\n') == [Hello("ci", protocol=PROTOCOL)]
    assert read(b'{"type":"hello","name":"ci","protocol":"2.0"}\n') == [Hello("ci", protocol="2.0")]


# --- what a node sends ----------------------------------------------------------------------------------------------


def maps(data: bytes, ends: Sequence[int]) -> list[Any]:
    """Return the maps in lines, each of which ends where `ends` says."""
    lines = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert b"".join(lines) == data
    assert all(line.endswith(b"\n") for line in lines)
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("vector", NODE, ids=str)
def test_golden_messages(vector: Vector) -> None:
    """Each golden frame becomes one line that another library reads as the golden map."""
    data, ends = JSON.encode(framed(vector.body))
    assert data.count(b"\n") == 1
    assert maps(data, ends) == [vector.map]


@given(messages=st.lists(node_messages, max_size=6))
def test_frames_become_lines(messages: list[NodeMessage]) -> None:
    """Joined frames, as bytes or a view of them, become as many lines, which say what the frames say."""
    joined = frames(messages)
    data, ends = JSON.encode(joined)
    assert maps(data, ends) == [unpack(encode(message)) for message in messages]
    assert JSON.encode(memoryview(joined)) == (data, ends)


def test_line_ends_in_texts() -> None:
    """A text of several lines stays one line, and ends are those of the lines."""
    said = [Message("r", offset, f"s-{offset}", "ada", 0, "a\nb\r\n\u2028\u2029\x85\0") for offset in (1, 2)]
    data, ends = JSON.encode(frames(said))
    assert [each["text"] for each in maps(data, ends)] == [said[0].text] * 2


def framed(body: bytes) -> bytes:
    """Return a map of a later version's node as a frame."""
    return len(body).to_bytes(4, "big") + body


def test_later_fields_survive() -> None:
    """What only a later version knows is sent on."""
    said = msgspec.to_builtins(Message("r", 1, "s-1", "ada", 0, "x"))
    later = {**said, "mood": {"deep": [1, None, "…"]}}
    assert maps(*JSON.encode(framed(pack(later)))) == [later]


def test_later_fields_that_json_has_not() -> None:
    """A later version's field that JSON cannot carry is left out, in its own record alone."""
    said = msgspec.to_builtins(Message("r", 1, "s-1", "ada", 0, "x", data={"a": 1}))
    for odd in (pack({None: 1}), pack({True: 1}), pack({(1, 2): 3}), b"\xd4\x05x", b"\xa1\xff"):
        body = pack({**said, "mood": None})[:-1] + odd
        joined = framed(pack({**said, "mood": 1})) + framed(body)
        assert maps(*JSON.encode(joined)) == [{**said, "mood": 1}, said]
