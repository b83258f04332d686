"""Hypothesis strategies for every message of the wire, built from the fields of its class.

This module owns the names, texts and messages of the property tests. It must never produce values that the limits
refuse: those have tests of their own.
"""

from __future__ import annotations

import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from msgspec import Meta, Struct

from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_NAME, MAX_TEXT, check_room

__all__ = ["instances", "texts", "words"]

_LARGEST = 2**53 - 1

_CHARACTERS = st.characters(
    exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Zs"],
    exclude_characters=",",
)


def _fits(word: str) -> bool:
    try:
        return bool(check_room(word))
    except UsageError:
        return False


words: st.SearchStrategy[str] = st.one_of(
    st.text(_CHARACTERS, min_size=1, max_size=MAX_NAME),
    st.sampled_from(["ada", "Zoë", "Zoe\u0308", "山田", "\u1112\u1161\u11ab", "😀", "a" * MAX_NAME, "é" * MAX_NAME]),
).filter(_fits)
"""Names of people, nodes and rooms, composed or not."""

texts: st.SearchStrategy[str] = st.one_of(
    st.text(max_size=200),
    st.sampled_from(["", "\0\x1b[2J\r\n", "a" * MAX_TEXT, "é" * (MAX_TEXT // 2), "😀" * (MAX_TEXT // 4)]),
)
"""Texts of messages: anything in UTF-8, up to the limit."""


_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-_LARGEST, _LARGEST),
        words,
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=2)),
    max_leaves=4,
)
"""The values in a record's `data`: all that JSON has."""


def _number(kind: type, bounds: Meta) -> st.SearchStrategy[object]:
    if kind is str:
        return words.map(lambda word: word[: bounds.max_length])
    if kind is int:
        return st.integers(bounds.ge, bounds.le)  # type: ignore[arg-type]
    return st.floats(bounds.ge, bounds.le)


def _field(owner: type[Struct], name: str, hint: object) -> st.SearchStrategy[object]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _number(*arguments)
    if origin in (Union, types.UnionType):
        return st.one_of([_field(owner, name, argument) for argument in arguments])
    if origin is list:
        return st.lists(_field(owner, name, arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(words, _field(owner, name, arguments[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, Struct):
        return instances(hint)
    if hint is str:
        # Only a posted text may be as long as the limit of texts.
        if owner.__name__ in ("Say", "Message") and name == "text":
            return texts
        return words
    simple: dict[object, st.SearchStrategy[object]] = {
        Any: _values,
        int: st.integers(1, _LARGEST),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return simple[hint]


def instances(kind: type[Struct]) -> st.SearchStrategy[Struct]:
    """Return a strategy for valid instances of a message's class, with or without optional fields."""
    required: dict[str, st.SearchStrategy[object]] = {}
    optional: dict[str, st.SearchStrategy[object]] = {}
    hints = get_type_hints(kind, include_extras=True)
    for name in kind.__struct_fields__:
        needed = name not in _defaults(kind)
        (required if needed else optional)[name] = _field(kind, name, hints[name])
    return st.builds(
        lambda given, extra: kind(**_ordered(given), **extra),
        st.fixed_dictionaries(required),
        st.fixed_dictionaries({}, optional=optional),
    )


def _ordered(fields: dict[str, object]) -> dict[str, object]:
    """Put the two ends of a span in order."""
    first = fields.get("first")
    for name in {"last", "version"} & fields.keys():
        last = fields[name]
        if isinstance(first, int) and isinstance(last, int):
            fields[name] = max(first, last)
    return fields


def _defaults(kind: type[Struct]) -> tuple[str, ...]:
    count = len(kind.__struct_defaults__)
    return kind.__struct_fields__[len(kind.__struct_fields__) - count :]
