"""Numbers from a peer can be shown and computed with; all others are the peer's fault."""

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
"""Times that may come from an old log: they are read unchanged, and code that shows them corrects them."""


def numbers(kind: type[msgspec.Struct]) -> list[str]:
    """Return the fields of a class that may hold a number."""
    found = []
    for field in msgspec.structs.fields(kind):
        kinds = msgspec.inspect.type_info(field.type)
        members = kinds.types if isinstance(kinds, msgspec.inspect.UnionType) else (kinds,)
        if any(isinstance(member, msgspec.inspect.IntType | msgspec.inspect.FloatType) for member in members):
            found.append(field.encode_name)
    return found


def test_impossible_numbers_are_refused(subtests: pytest.Subtests) -> None:
    """NaN, infinity and impossibly large numbers are refused in every field of every message."""
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


def test_batch_with_an_impossible_time_is_refused() -> None:
    """A node does not accept such a message from a peer: it reads the log, and corrects the time."""
    with pytest.raises(ProtocolError, match="time"):
        check_batch(frame(Message("r", 1, "s-1", "ada", 2**60, "hi")), "r", 1, 1)


@pytest.mark.parametrize(("at", "sane"), [(2**60, MAX_TIME), (-5, 0), (1_700_000_000_000, 1_700_000_000_000)])
def test_sane_times(at: int, sane: int) -> None:
    """A time from an old log is moved to the nearest one that a calendar has."""
    assert sane_time(at) == sane
