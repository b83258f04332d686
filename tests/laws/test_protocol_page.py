"""The protocol page shows true bytes: every example in it decodes to the JSON above it."""

from __future__ import annotations

import json
import re

from support.otherpack import unpack
from support.source import ROOT, hold

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")

EXAMPLE = re.compile(r'^(\{"type".*\})\n((?:[0-9a-f]+\n)+)', flags=re.MULTILINE)
"""A line of JSON, and the lines of hex that follow it."""


def test_every_example_is_true() -> None:
    """The bytes, with or without a frame's length before them, are those of the map."""
    examples = list(EXAMPLE.finditer(PAGE))
    assert len(examples) > 40  # the pattern finds them
    wrong = []
    for example in examples:
        data = bytes.fromhex(example[2].replace("\n", ""))
        body = data[4:] if int.from_bytes(data[:4], "big") == len(data) - 4 else data
        try:
            shown = unpack(body)
        except ValueError as error:
            shown = error
        if shown != json.loads(example[1]):
            wrong.append(f"docs/protocol.md:{PAGE.count(chr(10), 0, example.start()) + 1} is not {example[1]}: {shown}")
    hold(wrong)
