"""Every message survives the way over the wire, for all values of its fields."""

from __future__ import annotations

import unicodedata

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlour.wire.codec import decode_request, decode_ticket, encode, encode_ticket
from parlour.wire.control import Assign, Ticket
from parlour.wire.errors import ProtocolError
from parlour.wire.messages import Hello, Join, Say
from parlour.wire.relay import inbox_topic, room_topic
from support.otherpack import pack, unpack
from support.strategies import instances, texts, words
from support.vocabulary import CLASSES, decoders_of

(decode_client,) = decoders_of(Say)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_round_trip(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    """A message decodes to itself, and the other MessagePack library reads the same fields."""
    message = data.draw(instances(kind))
    body = encode(message)
    for decode in decoders_of(kind):
        assert decode(body) == message
    assert unpack(body) == msgspec.to_builtins(message)


@given(word=words)
def test_names_and_rooms_arrive_composed(word: str) -> None:
    """For each spelling of a name or a room, the NFC spelling comes out: names that look alike are equal."""
    composed, decomposed = unicodedata.normalize("NFC", word), unicodedata.normalize("NFD", word)
    for spelling in (word, composed, decomposed):
        assert decode_client(pack({"type": "hello", "name": spelling, "ticket": ""})) == Hello(composed, "")
        assert decode_client(pack({"type": "join", "room": spelling})) == Join(composed)
        assert decode_client(pack({"type": "say", "room": spelling, "id": 1, "text": ""})) == Say(composed, 1, "")
        asked = decode_request(pack({"type": "assign", "name": spelling, "room": spelling}))
        assert isinstance(asked, Assign)
        assert (asked.name, asked.room) == (composed, composed)


@given(text=texts)
def test_texts_are_unchanged(text: str) -> None:
    """A text is never changed: not composed, not stripped, not cleaned."""
    assert decode_client(encode(Say("lobby", 1, text))).text.encode() == text.encode()


@given(ticket=instances(Ticket))
def test_tickets_are_plain_text(ticket: msgspec.Struct) -> None:
    """An encoded ticket is ASCII without spaces, and decodes to the same ticket."""
    assert isinstance(ticket, Ticket)
    text = encode_ticket(ticket)
    assert text.isascii()
    assert text.split() == [text]
    assert decode_ticket(text) == ticket


@given(text=st.one_of(st.text(), st.sampled_from(["", "=", "dDE=", "é", "\ud800", "A" * 40])))
def test_invalid_ticket_is_refused(text: str) -> None:
    """Any text that is no ticket is a ProtocolError with its own code."""
    with pytest.raises(ProtocolError) as caught:
        decode_ticket(text)
    assert caught.value.code == "bad_ticket"


@given(one=words, more=words)
def test_no_topic_is_a_prefix_of_another(one: str, more: str) -> None:
    """ZeroMQ subscribes to prefixes: a subscription to a room or an inbox gets no publication of another."""
    topics = {room_topic(one), room_topic(one + more), inbox_topic(one), inbox_topic(one + more)}
    assert len(topics) == 4
    for topic in topics:
        assert not any(topic.startswith(shorter) for shorter in topics - {topic})
