"""The document of a name: its account, what is left of a removed one, or the lease of the guest who uses the name.

This module owns the form of that document. It is one document, so that one change decides to whom a name belongs.
"""

from __future__ import annotations

from msgspec import Struct

from parlour.directory.documents import Documents
from parlour.directory.passwords import Password
from parlour.directory.store import Store
from parlour.wire.errors import ParlourError

__all__ = ["Account", "Device", "Entry", "Lease", "NameTakenError", "Removed", "entries"]


class NameTakenError(ParlourError):
    """Somebody else has the name, or one that looks like it; or `removed` had it, whose name stays reserved.

    Attributes:
        name: the name that was asked for.
        free: a free name that is like it; empty if none was found.
    """

    def __init__(self, name: str, free: str, removed: str = "") -> None:
        why = f"stays reserved, as the account {removed} was removed" if removed else "is taken"
        super().__init__(f"the name {name} {why}: {f'{free} is free' if free else 'take another one'}")
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
    """A device that signs in with a token of its own, of which `token` is the hash; `made` is in ms since the epoch."""

    id: str
    label: str
    made: int
    token: str = ""


class Lease(Struct, frozen=True, omit_defaults=True):
    """The use of a name by a guest's session, from an address, at an instance of a node."""

    name: str
    session: str
    instance: str
    address: str = ""


class Removed(Struct, frozen=True):
    """What is left of a removed account: its name, and when it was removed, in ms since the Unix epoch.

    Rooms and conversations know an account by its name, so nobody else may ever have that.
    """

    name: str
    at: int


class Entry(Struct, frozen=True, omit_defaults=True):
    """The document of a name. The name of an account, or of a removed one, has no lease."""

    account: Account | None = None
    password: Password | None = None
    devices: tuple[Device, ...] = ()
    lease: Lease | None = None
    removed: Removed | None = None


def entries(store: Store) -> Documents[Entry]:
    """Return the documents of all names, by skeleton."""
    return Documents(store, "name/", Entry)
