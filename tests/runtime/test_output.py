"""What commands print: JSON without control characters, and local times."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.runtime.output import json_line, local_time
from support.source import Module, modules

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT, ANY_TEXT)
def test_json_is_plain_and_means_the_same(key: str, text: str) -> None:
    """For any text, lone surrogates included, the output is visible characters that decode to the text."""
    line = json_line({key: [text]})
    assert line.isprintable()
    # Two lone surrogates in a row are one character in JSON.
    assert json.dumps(json.loads(line)) == json.dumps({key: [text]})


def test_invisible_characters_are_escaped() -> None:
    """Controls, DEL, C1, separators, overrides, joiners and unassigned ones are escaped; letters and emoji are not."""
    text = "\x1b\x7f\x9b\u2028\u202e\u200d\ud800\U000e0001"
    assert json_line(text) == '"\\u001b\\u007f\\u009b\\u2028\\u202e\\u200d\\ud800\\udb40\\udc01"'
    assert json_line("über 雪 🙂") == '"über 雪 🙂"'


def test_nan_is_null() -> None:
    """NaN and infinity, which a node might report, do not exist in JSON."""
    assert json_line({"rate": float("nan"), "rates": [1.5, float("-inf")]}) == '{"rate":null,"rates":[1.5,null]}'


@pytest.mark.parametrize("module", [each for each in modules() if "json_option" in each.text], ids=str)
def test_every_command_uses_print_json(module: Module) -> None:
    """No command with `--json` makes JSON in a way of its own."""
    assert "json.encode(" not in module.text
    assert "json.dumps(" not in module.text or module.name == "parlour.runtime.output"


@pytest.mark.parametrize("at", [2**60, -(2**60), 2**53 - 1, 253_402_300_800_000 + 86_400_000])
def test_a_time_out_of_range(at: int) -> None:
    """A time out of range is None and no error."""
    assert local_time(at) is None
