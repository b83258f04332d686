"""The handlers of asks about oneself and other people.

This module owns what they answer; it runs on the client's own thread. It must never tell a person the secrets
of another.
"""

from __future__ import annotations

from typing import Any

from parlour.node.clients.asker import Asker
from parlour.wire.ask_data import WhoAmI

__all__ = ["whoami"]


def whoami(session: Asker, _: WhoAmI) -> dict[str, Any]:
    """Tell the client who it is here."""
    person = session.person
    return {
        "name": person.name,
        "account": person.account,
        "display": person.display,
        "operator": person.operator,
        "address": person.address,
    }
