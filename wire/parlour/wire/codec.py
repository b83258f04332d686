"""Bytes to messages and back: frames on TCP, single maps on ZeroMQ. Every failure to decode is a ProtocolError.

This module owns the framing (four bytes of big-endian length, then one MessagePack map) and the only calls to the
MessagePack library. It is pure: bytes in, messages out, on any thread, though one FrameDecoder serves one
connection. It must never read a socket, nor hold more than one frame's worth of undecoded bytes per feed.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

import msgspec

from parlour.wire.control import Feed, Reply, Request, Ticket
from parlour.wire.errors import ProtocolError, UsageError
from parlour.wire.limits import MAX_FRAME
from parlour.wire.messages import ClientMessage, Message, NodeMessage
from parlour.wire.relay import RelayMessage

__all__ = [
    "ClientDecoder",
    "Decoder",
    "FrameDecoder",
    "NodeDecoder",
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
    "message_ids",
    "skip_frames",
]

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_LENGTH = struct.Struct(">I")
_pack_length = _LENGTH.pack

# Longest part, in characters, of what was wrong with a message that goes into an error's text.
_MAX_REASON = 200


_UNDECODABLE = (msgspec.MsgspecError, UsageError, UnicodeDecodeError, RecursionError)


def _no_message(error: Exception) -> ProtocolError:
    # The library's words may quote the peer's: these must not move a terminal's cursor, and an error frame with them
    # in its text must not itself outgrow a frame.
    text = str(error)[:_MAX_REASON]
    return ProtocolError(
        f"not a message: {''.join(character if character.isprintable() else '?' for character in text)}"
    )


class Decoder(Generic[T]):
    """Decodes one MessagePack map to a typed message, with every error brought to ProtocolError."""

    def __init__(self, kind: object) -> None:
        self.decode: Callable[[bytes | memoryview], T] = msgspec.msgpack.Decoder(kind).decode
        """The bare decoding, which raises any of `_UNDECODABLE`."""

    def __call__(self, body: bytes | memoryview) -> T:
        """Return the message in `body`; raises ProtocolError, whatever is wrong with it."""
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
"""A load report, roster, refusal or decision, from the second ZeroMQ frame of a publication."""
decode_relay: Decoder[RelayMessage] = Decoder(RelayMessage)
"""The head of a relay publication between nodes, from its second ZeroMQ frame."""
_decode_ticket: Decoder[Ticket] = Decoder(Ticket)
_decode_message: Decoder[Message] = Decoder(Message)


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


class FrameDecoder(Generic[T]):
    """Cuts a stream of bytes, split anywhere, into frames and decodes each.

    After a ProtocolError the stream cannot be trusted any more: the decoder refuses further bytes, and the
    connection should be closed. Messages decoded before the fault, in the same feed, are not lost: the error is
    raised after they were yielded.
    """

    def __init__(self, decoder: Decoder[T]) -> None:
        self._decode = decoder.decode
        self._rest = b""
        self._broken = False

    @property
    def partial(self) -> bool:
        """Whether a frame has begun that has not ended."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator[T]:
        """Yield each message that `data` completes; raises ProtocolError at the first that is none."""
        if self._broken:
            raise ProtocolError("nothing can follow a broken frame")
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position, end = 0, len(data)
        try:
            while end - position >= 4:
                (size,) = _LENGTH.unpack_from(data, position)
                if size > MAX_FRAME:
                    if data[position]:  # over 16 MiB, so rather another protocol's first word
                        raise ProtocolError(
                            f"no frame of parlour's, as it begins with {data[position : position + 4]!r}",
                            "frame_too_large",
                        )
                    raise ProtocolError(
                        f"a frame of {size} bytes was announced, {MAX_FRAME} is the limit", "frame_too_large"
                    )
                start = position + 4
                if end - start < size:
                    break
                position = start + size
                yield self._decode(data[start:position])
        except ProtocolError:
            self._broken = True
            raise
        except _UNDECODABLE as error:
            self._broken = True
            raise _no_message(error) from None
        self._rest = data[position:]


def ClientDecoder() -> FrameDecoder[ClientMessage]:  # noqa: N802 - reads as the class that it makes
    """Return a decoder of what a client sends."""
    return FrameDecoder(_decode_client)


def NodeDecoder() -> FrameDecoder[NodeMessage]:  # noqa: N802
    """Return a decoder of what a node sends."""
    return FrameDecoder(_decode_node)


def check_batch(frames: bytes | memoryview, room: str, first: int, last: int) -> None:
    """Raise ProtocolError unless these are the frames of a room's messages `first` to `last`, whole and in order."""
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
            raise ProtocolError(f"a batch has message {message.offset} where {offset} of its room belongs")
        offset += 1
    if position != end or offset != last + 1:
        raise ProtocolError(f"a batch of {last + 1 - first} messages has another number of frames")


def message_ids(frames: bytes | memoryview) -> list[str]:
    """Return the ids of the messages in joined frames of our own making."""
    ids: list[str] = []
    position = 0
    while position < len(frames):
        start, position = position + 4, position + skip_frames(frames[position:], 1)
        ids.append(_decode_message(frames[start:position]).id)
    return ids


def skip_frames(frames: bytes | memoryview, count: int) -> int:
    """Return the index at which the frame after the first `count` begins in joined frames of our own making."""
    position = 0
    for _ in range(count):
        position += 4 + _LENGTH.unpack_from(frames, position)[0]
    return position


def encode_ticket(ticket: Ticket) -> str:
    """Return the ticket as the opaque text that a client carries from broker to node."""
    return base64.urlsafe_b64encode(encode(ticket)).decode()


def decode_ticket(text: str) -> Ticket:
    """Return the ticket that a client brought; raises ProtocolError (`bad_ticket`) if it is none."""
    try:
        return _decode_ticket(base64.urlsafe_b64decode(text.encode()))
    except (ProtocolError, binascii.Error, ValueError):
        raise ProtocolError("the ticket is not one: ask the broker for another", "bad_ticket") from None
