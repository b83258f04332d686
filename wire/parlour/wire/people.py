"""A person, as sessions and rooms see one: who somebody is, without how that was proved.

This module is pure; instances are immutable, and any thread may use them.
"""

from __future__ import annotations

import unicodedata

from msgspec import Struct

from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_NAME

__all__ = ["Person", "check_display"]

# Line and paragraph separators, control characters and surrogates: a display name is one line.
_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})


def check_display(display: str) -> str:
    """Return a display name in NFC, without white space around it; raises UsageError if it is not one line."""
    display = unicodedata.normalize("NFC", display[: 4 * MAX_NAME + 1].strip())
    if len(display) > MAX_NAME:
        raise UsageError(f"a display name has at most {MAX_NAME} characters")
    if any(unicodedata.category(character) in _REFUSED for character in display):
        raise UsageError(f"a display name is one line without control characters, not {display!r}")
    return display


class Person(Struct, frozen=True, gc=False):
    """A person at a node.

    Attributes:
        name: the name that others see.
        account: the account's name; empty for a guest.
        operator: whether the account is an operator of the cluster.
        address: the client's IP address; empty if there is none.
        display: the account's display name, a free text; empty if it has none.
        rate: posts a second that the account may say; 0 for the node's usual rate.
    """

    name: str
    account: str = ""
    operator: bool = False
    address: str = ""
    display: str = ""
    rate: float = 0.0
