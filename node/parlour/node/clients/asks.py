"""The table of what a client may ask besides posts and rooms, and how one ask is answered.

This module owns the table: for each word the type of its data, and its handler in a module of its kind. It runs on the
client's own thread. It must never leave an ask without an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from parlour.directory.store import DirectoryError
from parlour.node.clients import account_asks, conversation_asks, operator_asks, room_asks
from parlour.node.clients.asker import Asker, RefusedAskError
from parlour.node.log import LogError
from parlour.node.people.refusal import RefusedClientError
from parlour.wire import ask_data
from parlour.wire.asks import Answer, Ask
from parlour.wire.errors import UsageError
from parlour.wire.messages import Error

__all__ = ["HANDLERS", "Handler", "answer_ask"]


class Handler(NamedTuple):
    """How one kind of ask is answered: the type of its data, and the function that returns the data of the answer.

    The function raises RefusedAskError if it refuses; UsageError, DirectoryError and LogError are answered, too.
    """

    data: type[msgspec.Struct]
    answer: Callable[[Asker, Any], dict[str, Any]]


HANDLERS: dict[str, Handler] = {
    "whoami": Handler(ask_data.WhoAmI, account_asks.whoami),
    "whois": Handler(ask_data.WhoIs, account_asks.whois),
    "nick": Handler(ask_data.Nick, account_asks.nick),
    "register": Handler(ask_data.Register, account_asks.register),
    "password": Handler(ask_data.NewPassword, account_asks.change_password),
    "token": Handler(ask_data.MakeToken, account_asks.make_token),
    "devices": Handler(ask_data.Devices, account_asks.devices),
    "revoke": Handler(ask_data.Revoke, account_asks.revoke),
    "invite": Handler(ask_data.Invite, account_asks.invite),
    "kick": Handler(ask_data.Kick, operator_asks.kick),
    "announce": Handler(ask_data.Announce, operator_asks.announce),
    "state": Handler(ask_data.State, room_asks.state),
    "rooms": Handler(ask_data.Rooms, room_asks.rooms),
    "direct": Handler(ask_data.Direct, conversation_asks.direct),
    "belongings": Handler(ask_data.Mine, conversation_asks.belongings),
    "ignore": Handler(ask_data.Ignore, conversation_asks.ignore),
    "unignore": Handler(ask_data.Ignore, conversation_asks.unignore),
    "mark": Handler(ask_data.Mark, conversation_asks.mark),
    "unread": Handler(ask_data.Unread, conversation_asks.unread),
}
"""What may be asked."""


def answer_ask(session: Asker, ask: Ask) -> None:
    """Answer an ask with `answer`, or with an `error` that has its id."""
    session.answer(_outcome(session, ask))


def _outcome(session: Asker, ask: Ask) -> Answer | Error:
    handler = HANDLERS.get(ask.what)
    if handler is None:
        return Error("bad_request", f"this node does not know what {ask.what!r} asks", ask=ask.id)
    try:
        return Answer(ask.id, handler.answer(session, msgspec.convert(ask.data, handler.data)))
    except RefusedClientError as refused:
        return refused.told(ask=ask.id)
    except RefusedAskError as refused:
        return Error(refused.code, str(refused), None, None, refused.retry_after, False, ask.id, refused.name)
    except (msgspec.ValidationError, UsageError) as error:
        return Error("bad_request", f"{ask.what}: {error}", ask=ask.id)
    except (DirectoryError, LogError) as error:
        return Error("unavailable", str(error), retry_after=1.0, ask=ask.id)
