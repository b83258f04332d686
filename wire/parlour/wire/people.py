"""A person, as sessions and rooms see one: who somebody is, without how that was proved.

This module is pure; instances are immutable, and any thread may use them.
"""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Person"]


class Person(Struct, frozen=True, gc=False):
    """A person at a node.

    Attributes:
        name: the name that others see.
        account: the account's name; empty for a guest.
        operator: whether the account is an operator of the cluster.
        address: the client's IP address; empty if there is none.
        display: the account's display name, a free text; empty if it has none.
    """

    name: str
    account: str = ""
    operator: bool = False
    address: str = ""
    display: str = ""
