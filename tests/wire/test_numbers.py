"""Numbers from a peer are such as can be shown and computed with: others are an error of the peer."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from parlour.wire.codec import Decoder, check_batch, frame
from parlour.wire.errors import ProtocolError
from parlour.wire.limits import MAX_TIME, sane_time
from parlour.wire.messages import Message
from support.otherpack import pack
from support.vocabulary import CLASSES, GOLDEN, decoders_of

OLD_TIMES = {"Message.at", "Accepted.at"}
"""What may come from an old log is read as it is, and brought into the calendar by those who show it."""


def numbers(kind: type[msgspec.Struct]) -> list[str]:
    """Return the fields of a class that hold a number, or may."""
    found = []
    for field in msgspec.structs.fields(kind):
        kinds = msgspec.inspect.type_info(field.type)
        members = kinds.types if isinstance(kinds, msgspec.inspect.UnionType) else (kinds,)
        if any(isinstance(member, msgspec.inspect.IntType | msgspec.inspect.FloatType) for member in members):
            found.append(field.encode_name)
    return found


def test_no_field_takes_any_number(subtests: pytest.Subtests) -> None:
    """NaN, infinity and what no honest peer could mean are refused, in every field of every message."""
    for kind in CLASSES:
        example = next(vector.map for vector in GOLDEN if vector.kind is kind)
        for field in numbers(kind):
            if (name := f"{kind.__name__}.{field}") in OLD_TIMES:
                continue
            with subtests.test(name):
                for value in (math.nan, math.inf, -math.inf, 1e300, 2**63, -(2**62)):
                    decode: Decoder[Any]
                    for decode in decoders_of(kind):
                        with pytest.raises(ProtocolError):
                            decode(pack({**example, field: value}))


def test_a_peers_batch_holds_no_time_that_cannot_be_shown() -> None:
    """A node does not take such a message from another: it reads it from the log, and makes its time sane."""
    with pytest.raises(ProtocolError, match="time"):
        check_batch(frame(Message("r", 1, "s-1", "ada", 2**60, "hi")), "r", 1, 1)


@pytest.mark.parametrize(("at", "sane"), [(2**60, MAX_TIME), (-5, 0), (1_700_000_000_000, 1_700_000_000_000)])
def test_sane_times(at: int, sane: int) -> None:
    """A time of an old log is brought to the nearest that a calendar has."""
    assert sane_time(at) == sane
