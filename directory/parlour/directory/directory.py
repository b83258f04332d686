"""The directory of a cluster, put together: all policy on one store.

This module owns that list; any thread may call the parts. It must never do anything by itself.
"""

from __future__ import annotations

from parlour.directory.accounts import Accounts
from parlour.directory.bans import Bans
from parlour.directory.belongings import BelongingsBook
from parlour.directory.failures import Failures
from parlour.directory.invitations import Invitations
from parlour.directory.names import Names
from parlour.directory.orders import Orders
from parlour.directory.store import Store
from parlour.directory.tokens import Tokens
from parlour.directory.trail import Trail

__all__ = ["Directory"]


class Directory:
    """The people of a cluster, and what belongs to them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.names = Names(store)
        self.belongings = BelongingsBook(store)
        self.tokens = Tokens(store)
        self.accounts = Accounts(store, self.names, self.belongings, self.tokens)
        self.invitations = Invitations(store)
        self.failures = Failures(store)
        self.trail = Trail(store)
        self.bans = Bans(store)
        self.orders = Orders(store, self.names, self.trail)
