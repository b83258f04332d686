"""The protocol page shows true bytes: every example in it decodes to the JSON above it."""

from __future__ import annotations

import json
import re

import pytest

from support.otherpack import unpack
from support.source import ROOT

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")

# An example is a line of JSON and the lines of hex that follow it.
EXAMPLES = [
    pytest.param(json.loads(text), bytes.fromhex(hexes.replace("\n", "")), id=f"{number}-{json.loads(text)['type']}")
    for number, (text, hexes) in enumerate(re.findall(r'^(\{"type".*\})\n((?:[0-9a-f]+\n)+)', PAGE, flags=re.MULTILINE))
]


def test_the_page_has_examples() -> None:
    """The pattern by which they are found finds them."""
    assert len(EXAMPLES) > 40


@pytest.mark.parametrize(("said", "data"), EXAMPLES)
def test_an_example_is_true(said: dict[str, object], data: bytes) -> None:
    """The bytes, with or without a frame's length before them, are those of the map."""
    size = int.from_bytes(data[:4], "big")
    body = data[4:] if size == len(data) - 4 else data
    assert unpack(body) == said
