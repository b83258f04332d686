"""The document of a name: its account, if it has one, or else the lease of the guest who uses it.

This module owns the form of that document. It is one document, so that one change decides to whom a name belongs.
"""

from __future__ import annotations

from msgspec import Struct

from parlour.directory.documents import Documents
from parlour.directory.passwords import Password
from parlour.directory.store import Store
from parlour.wire.errors import ParlourError

__all__ = ["Account", "Device", "Entry", "Lease", "NameTakenError", "entries"]


class NameTakenError(ParlourError):
    """Somebody else has the name, or one that looks like it.

    Attributes:
        name: the name that was asked for.
        free: a free name that is like it; empty if none was found.
    """

    def __init__(self, name: str, free: str) -> None:
        super().__init__(f"the name {name} is taken: {free} is free" if free else f"the name {name} is taken")
        self.name = name
        self.free = free


class Account(Struct, frozen=True, omit_defaults=True):
    """An account.

    Attributes:
        name: the name, as it was registered.
        skeleton: the skeleton of the name, which is the account's key.
        display: the display name; empty if there is none.
        operator: whether it is an operator of the cluster.
        disabled: whether nobody can sign in to it.
        made: when it was made, in ms since the Unix epoch.
        rate: posts a second that it may say; 0 for the node's default.
    """

    name: str
    skeleton: str
    display: str = ""
    operator: bool = False
    disabled: bool = False
    made: int = 0
    rate: float = 0.0


class Device(Struct, frozen=True, omit_defaults=True):
    """A device that signs in with a token of its own; `made` is in ms since the Unix epoch."""

    id: str
    label: str
    made: int


class Lease(Struct, frozen=True):
    """The use of a name by a guest's session at an instance of a node."""

    name: str
    session: str
    instance: str


class Entry(Struct, frozen=True, omit_defaults=True):
    """The document of a name. An account's name has no lease."""

    account: Account | None = None
    password: Password | None = None
    devices: tuple[Device, ...] = ()
    lease: Lease | None = None


def entries(store: Store) -> Documents[Entry]:
    """Return the documents of all names, by skeleton."""
    return Documents(store, "name/", Entry)
