"""The codec between bytes and messages: frames on TCP, single maps on ZeroMQ.

This module owns the framing (four bytes of big-endian length, then one MessagePack map) and the calls of the
MessagePack library. It is pure and runs on any thread, but each FrameDecoder serves one connection. It must never read
a socket, keep more than one frame of undecoded bytes, or let an error other than ProtocolError out of decoding.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar, get_args

import msgspec

from parlour.wire.control import Feed, Reply, Request, Ticket
from parlour.wire.errors import ProtocolError, UsageError
from parlour.wire.limits import MAX_DEPTH, MAX_FRAME, MAX_TIME
from parlour.wire.messages import ClientMessage, Message, NodeMessage
from parlour.wire.records import CHANGE_KINDS, check_data
from parlour.wire.relay import RelayMessage

__all__ = [
    "ClientDecoder",
    "Decoder",
    "FrameDecoder",
    "NodeDecoder",
    "bodies",
    "check_batch",
    "decode_feed",
    "decode_relay",
    "decode_reply",
    "decode_request",
    "decode_ticket",
    "encode",
    "encode_ticket",
    "frame",
    "frames",
    "messages_of",
    "most_bytes",
    "skip_frames",
]

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_LENGTH = struct.Struct(">I")
_pack_length = _LENGTH.pack

# Longest part of the library's error text, in characters, that goes into the text of a ProtocolError.
_MAX_REASON = 200


_UNDECODABLE = (msgspec.MsgspecError, UsageError, UnicodeDecodeError, RecursionError)


def _no_message(error: Exception) -> ProtocolError:
    # The library's text may quote the peer's bytes. These must not move a terminal's cursor, and an error frame with
    # this text must fit into a frame.
    text = str(error)[:_MAX_REASON]
    return ProtocolError(
        f"not a message: {''.join(character if character.isprintable() else '?' for character in text)}"
    )


# --- nesting: the library recurses once per level, which can overflow a thread's small stack and end the process -----

# Bytes that may open a map or a list. Most messages have few of them; messages of many parts have more, and texts in
# scripts whose UTF-8 contains them. To count them costs a tenth of decoding. Only a message with too many is checked.
_OPENING = frozenset({*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF})
_MARKS = bytes(code in _OPENING for code in range(256))

# For each other byte, the length of the value that it begins; if a length field follows, minus that field's size.
_WIDTH = [1] * 256
for _code, _width in {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}.items():
    _WIDTH[_code] = _width
for _code in range(0xA0, 0xC0):  # short str
    _WIDTH[_code] = 1 + _code - 0xA0
for _power in range(5):  # ext of a fixed size
    _WIDTH[0xD4 + _power] = 2 + 2**_power
for _code, _width in {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4}.items():
    _WIDTH[_code] = -_width


def _check_depth(body: bytes) -> None:
    """Raise ProtocolError if maps and lists are nested too deeply; the decoder finds all other faults."""
    left: list[int] = []  # for each open map or list, the number of keys and values still to come
    position, end = 0, len(body)
    while position < end:
        while left and not left[-1]:
            left.pop()
        if left:
            left[-1] -= 1
        code = body[position]
        position += 1
        if code not in _OPENING:
            width = _WIDTH[code]
            if width > 0:
                position += width - 1
            else:
                size = int.from_bytes(body[position : position - width])
                position += size - width + (0xC7 <= code <= 0xC9)  # an ext has a byte for its type
            continue
        if code < 0xA0:
            items = code & 0x0F
        else:
            width = 2 if code in (0xDC, 0xDE) else 4
            items = int.from_bytes(body[position : position + width])
            position += width
        left.append(2 * items if code < 0x90 or code >= 0xDE else items)
        if len(left) > MAX_DEPTH:
            raise ProtocolError(f"not a message: maps and lists may be nested {MAX_DEPTH} deep, not deeper")


class Decoder(Generic[T]):
    """Decodes one MessagePack map to a typed message, and turns every error into ProtocolError.

    With `ours` it reads only maps that parlour wrote itself, so it does not check their nesting.
    """

    def __init__(self, kind: object, ours: bool = False) -> None:
        self.decode: Callable[[bytes], T] = msgspec.msgpack.Decoder(kind).decode
        """The plain decoding of a map that is not nested too deeply; raises any of `_UNDECODABLE`."""
        self._ours = ours

    def __call__(self, body: bytes | memoryview) -> T:
        """Return the message in `body`; raises ProtocolError for every fault."""
        body = bytes(body)
        if not self._ours and body.translate(_MARKS).count(1) > MAX_DEPTH:
            _check_depth(body)
        try:
            return self.decode(body)
        except _UNDECODABLE as error:
            raise _no_message(error) from None


_decode_client: Decoder[ClientMessage] = Decoder(ClientMessage)
_decode_node: Decoder[NodeMessage] = Decoder(NodeMessage)
decode_request: Decoder[Request] = Decoder(Request)
"""A request to a broker, from its one ZeroMQ frame."""
decode_reply: Decoder[Reply] = Decoder(Reply)
"""A broker's reply, from its one ZeroMQ frame."""
decode_feed: Decoder[Feed] = Decoder(Feed)
"""A load report, roster, refusal, decision or order, from the second ZeroMQ frame of a publication."""
decode_relay: Decoder[RelayMessage] = Decoder(RelayMessage)
"""The header of a relay publication between nodes, from its second ZeroMQ frame."""
_decode_ticket: Decoder[Ticket] = Decoder(Ticket)
_decode_message: Decoder[Message] = Decoder(Message)

_NODE_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(NodeMessage))


def encode(message: object) -> bytes:
    """Return the message as one MessagePack map, without a frame's length."""
    return _encode(message)


def frame(message: object) -> bytes:
    """Return the message as a frame ready to send; raises UsageError if its body is over 64 KiB."""
    return frames((message,))


def frames(messages: Iterable[object]) -> bytes:
    """Return the messages as frames that follow each other, ready to send; raises UsageError if one is over 64 KiB."""
    parts: list[bytes] = []
    for message in messages:
        body = _encode(message)
        if len(body) > MAX_FRAME:
            raise UsageError(f"a frame has at most {MAX_FRAME} bytes, this {type(message).__name__} has {len(body)}")
        parts.append(_pack_length(len(body)))
        parts.append(body)
    return b"".join(parts)


# Bytes of a message's body without its texts: the map, the keys, the type, the numbers, and the lengths of the texts.
_WITHOUT_TEXTS = 120


def most_bytes(message: Message) -> int:
    """Return an upper bound of the message's body in bytes, without encoding it."""
    texts = (message.room, message.id, message.by, message.text, message.kind, message.account)
    size = _WITHOUT_TEXTS + sum(len(text) if text.isascii() else len(text.encode()) for text in texts)
    return size + len(_encode(message.data)) if message.data else size


class _Typed(msgspec.Struct):
    """The field that each message has, also a message of a later version."""

    type: str


_decode_type = msgspec.msgpack.Decoder(_Typed).decode


class FrameDecoder(Generic[T]):
    """Cuts a stream of bytes, split anywhere, into frames and decodes each.

    With `known` it skips messages of all other types, which belong to later versions.

    After a ProtocolError the stream cannot be trusted any more: the decoder refuses further bytes, and the
    connection should be closed. It yields the messages before the fault first, and raises the error then.
    """

    def __init__(self, decoder: Decoder[T], known: frozenset[str] | None = None) -> None:
        self._decode = decoder.decode
        self._known = known
        self._rest = b""
        self._broken = False

    def feed(self, data: bytes) -> Iterator[T]:
        """Yield each message that `data` completes; raises ProtocolError at the first fault."""
        if self._broken:
            raise ProtocolError("a broken frame came before: close this connection")
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position, end = 0, len(data)
        marks = data.translate(_MARKS)
        try:
            while end - position >= 4:
                (size,) = _LENGTH.unpack_from(data, position)
                if size > MAX_FRAME:
                    if data[position]:  # over 16 MiB: probably the first word of another protocol
                        raise ProtocolError(
                            f"this is no frame of parlour: it begins with {data[position : position + 4]!r}",
                            "frame_too_large",
                        )
                    raise ProtocolError(
                        f"the frame announces {size} bytes, but {MAX_FRAME} is the limit", "frame_too_large"
                    )
                start = position + 4
                if end - start < size:
                    break
                position = start + size
                body = data[start:position]
                if marks.count(1, start, position) > MAX_DEPTH:
                    _check_depth(body)
                try:
                    message = self._decode(body)
                except msgspec.ValidationError:
                    if self._known is None or _decode_type(body).type in self._known:
                        raise
                    continue
                yield message
        except ProtocolError:
            self._broken = True
            raise
        except _UNDECODABLE as error:
            self._broken = True
            raise _no_message(error) from None
        self._rest = data[position:]


def ClientDecoder() -> FrameDecoder[ClientMessage]:  # noqa: N802 - callers use it like a class
    """Return a decoder of a client's messages."""
    return FrameDecoder(_decode_client)


def NodeDecoder() -> FrameDecoder[NodeMessage]:  # noqa: N802
    """Return a decoder of a node's messages; it skips types that only later versions know."""
    return FrameDecoder(_decode_node, _NODE_TYPES)


def check_batch(frames: bytes | memoryview, room: str, first: int, last: int) -> list[Message]:
    """Check the frames of a room's messages `first` to `last`; return those of them that are of `CHANGE_KINDS`.

    Raises ProtocolError unless the frames are complete and in order, and each message is within the limits.
    """
    changes: list[Message] = []
    position, end, offset = 0, len(frames), first
    while position < end and offset <= last:
        if end - position < 4:
            raise ProtocolError("a batch ends within a frame")
        start = position + 4
        position = start + _LENGTH.unpack_from(frames, position)[0]
        if position > end or position - start > MAX_FRAME:
            raise ProtocolError("a batch ends within a frame, or one of its frames is too large")
        message = _decode_message(frames[start:position])
        if message.offset != offset or message.room != room:
            raise ProtocolError(f"a batch has message {message.offset}, but message {offset} of its room belongs there")
        if not 0 <= message.at <= MAX_TIME:
            raise ProtocolError(f"a batch has a message with the impossible time {message.at}")
        if message.data:
            check_data(message.data)
        if message.kind in CHANGE_KINDS:
            changes.append(message)
        offset += 1
    if position != end or offset != last + 1:
        raise ProtocolError(f"a batch of messages {first} to {last} has too many or too few frames")
    return changes


def messages_of(frames: bytes | memoryview) -> list[Message]:
    """Return the messages in joined frames that parlour made itself."""
    return [_decode_message(body) for body in bodies(frames)]


def bodies(frames: bytes | memoryview) -> Iterator[bytes | memoryview]:
    """Yield the maps in joined frames that parlour made itself."""
    position, end = 0, len(frames)
    while position < end:
        start = position + 4
        position = start + _LENGTH.unpack_from(frames, position)[0]
        yield frames[start:position]


def skip_frames(frames: bytes | memoryview, count: int) -> int:
    """Return the index behind the first `count` frames, in joined frames that parlour made itself."""
    position = 0
    for _ in range(count):
        position += 4 + _LENGTH.unpack_from(frames, position)[0]
    return position


def encode_ticket(ticket: Ticket) -> str:
    """Return the ticket as the opaque text that a client takes from the broker to the node."""
    return base64.urlsafe_b64encode(encode(ticket)).decode()


def decode_ticket(text: str) -> Ticket:
    """Return the ticket in a client's text; raises ProtocolError (`bad_ticket`) if the text is no ticket."""
    try:
        return _decode_ticket(base64.urlsafe_b64decode(text.encode()))
    except (ProtocolError, binascii.Error, ValueError):
        raise ProtocolError("this is no ticket: ask the broker for one", "bad_ticket") from None
