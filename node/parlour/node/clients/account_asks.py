"""The handlers of asks about oneself and other people: names, accounts, devices and invitations.

This module owns what they answer; it runs on the client's own thread. It must never tell a person the secrets
of another.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from parlour.node.clients.asker import Asker, RefusedAskError
from parlour.node.log.room_states import state_of
from parlour.node.people.people import person_of
from parlour.wire import ask_data
from parlour.wire.direct import account_identity
from parlour.wire.limits import check_name
from parlour.wire.people import check_display
from parlour.wire.rights import name_fault

__all__ = [
    "change_password",
    "devices",
    "invite",
    "make_token",
    "nick",
    "register",
    "revoke",
    "whoami",
    "whois",
]


def whoami(session: Asker, _: ask_data.WhoAmI) -> dict[str, Any]:
    """Tell the client who it is here."""
    person = session.person
    return {
        "name": person.name,
        "account": person.account,
        "display": person.display,
        "operator": person.operator,
        "address": person.address,
    }


def whois(session: Asker, data: ask_data.WhoIs) -> dict[str, Any]:
    """Tell who has a name."""
    name = check_name(data.name)
    account = session.context.people.directory.accounts.get(name)
    if account is not None and not account.disabled:
        return {
            "name": account.name,
            "account": account.name,
            "display": account.display,
            "operator": account.operator,
            "made": account.made,
        }
    guest = session.context.people.directory.names.holder(name)
    if guest is None:
        raise RefusedAskError("no_person", f"nobody here has the name {name}")
    told = {"name": guest.name, "account": "", "display": "", "operator": False}
    return {**told, "address": guest.address} if session.person.operator else told


def nick(session: Asker, data: ask_data.Nick) -> dict[str, Any]:
    """Give a guest another name, or an account another display name."""
    person, people = session.person, session.context.people
    if person.account:
        display = check_display(data.name)
        people.directory.accounts.change(person.account, display=display)
        session.context.news.tell(account_identity(person.account), "display", {"display": display})
        return {"name": person.name, "display": display}
    name = check_name(data.name)
    _check_freedom(session, name)
    if not session.observer:
        people.leases.take(name, session.id, person.address)
    session.become(replace(person, name=name))
    if not session.observer:
        people.leases.leave(person.name, session.id, grace=0.0)
    return {"name": name, "display": ""}


def _check_freedom(session: Asker, name: str) -> None:
    """Raise RefusedAskError for a guest that would escape a mute or a ban by another name."""
    log = session.context.log
    for room in session.rooms:
        state = state_of(log, room.name)  # not the one that this node knows: another node may have muted just now
        if fault := name_fault(state, room.name, session.person, name, log.now()):
            raise RefusedAskError("forbidden", fault)


def register(session: Asker, data: ask_data.Register) -> dict[str, Any]:
    """Make the guest's name an account, and the guest its owner."""
    person, people = session.person, session.context.people
    if person.account:
        raise RefusedAskError("has_account", f"you are signed in as {person.account} already")
    account = people.registration.register(person.name, data.password, data.invitation, session.id)
    if not session.observer:
        people.leases.forget(person.name, session.id)
    session.become(person_of(account, person.address))
    return {"account": account.name}


def change_password(session: Asker, data: ask_data.NewPassword) -> dict[str, Any]:
    """Give the client's account a new password."""
    _account(session)
    session.context.people.registration.change_password(session.person, data.old, data.new)
    return {}


def make_token(session: Asker, data: ask_data.MakeToken) -> dict[str, Any]:
    """Make a token with which the client's device can sign in."""
    tokens = session.context.people.directory.tokens
    token = tokens.make(_account(session), check_display(data.label))
    return {"token": token, "id": tokens.device(token)}


def devices(session: Asker, _: ask_data.Devices) -> dict[str, Any]:
    """Tell which devices have a token."""
    tokens = session.context.people.directory.tokens.list(_account(session))
    return {"devices": [{"id": token.id, "label": token.label, "made": token.made} for token in tokens]}


def revoke(session: Asker, data: ask_data.Revoke) -> dict[str, Any]:
    """Make a device's token void."""
    if not session.context.people.directory.tokens.revoke(_account(session), data.id):
        raise RefusedAskError("no_device", f"no device of yours has the id {data.id!r}: ask devices for the list")
    return {}


def invite(session: Asker, _: ask_data.Invite) -> dict[str, Any]:
    """Make an invitation for one person."""
    _account(session)
    return {"code": session.context.people.registration.invite(session.person)}


def _account(session: Asker) -> str:
    """Return the account of the client; raises RefusedAskError for a guest."""
    if not session.person.account:
        raise RefusedAskError("no_account", "this is for people with an account: register, or sign in")
    return session.person.account
