"""The architecture page shows every lock and every thread that the source makes."""

from __future__ import annotations

import difflib
import re

from support.source import hold, modules
from support.tables import PAGE, is_handed_on, locks, name_words, rewritten, threads


def test_tables_are_those_of_the_source() -> None:
    """The page is as `make docs` writes it."""
    assert len(locks()) > 20
    assert len(threads()) > 20
    text = PAGE.read_text(encoding="utf-8")
    change = [*difflib.unified_diff(text.splitlines(), rewritten(text).splitlines(), n=0, lineterm="")][2:]
    advice = "docs/architecture.md differs from the source: run `make docs`, or `python -m support.tables` in tests/"
    hold([advice, *change] if change else [])


def test_every_thread_has_a_name_that_can_be_told() -> None:
    """Its name is words, or one that was handed on: the table can show it."""
    hold(
        f"{module.at(call)} gives a thread a name that cannot be read from the source"
        for module in modules()
        for call, name, _ in module.calls
        if name == "spawn"
        and not any(
            is_handed_on(word) or (isinstance(word, str) and re.search("[a-z]", word))
            for word in name_words(call.args[0])
        )
    )
