"""The commands `account`, `invite`, `ban`, `unban` and `audit`, with which operators see to people.

This module owns their options and what they print; they run on the main thread. They work on the directory itself, also
while nodes run, and must never change anything in it without an entry in the trail.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

import click

from parlour.directory.accounts import Account
from parlour.directory.commands import ask_password, chosen_log, directory_options, password_option, user
from parlour.directory.directory import Directory
from parlour.directory.passwords import make_password
from parlour.runtime.operator_messages import printable
from parlour.runtime.options import AGE, NAME, ROOM, Number, json_option
from parlour.runtime.output import counted, local_time, print_json
from parlour.wire.errors import UsageError
from parlour.wire.masks import check_mask

__all__ = ["account", "audit", "ban", "invite", "unban"]

PAGE = 1000
"""Accounts that are read at once."""

ENTRIES = 100_000
"""Entries of the trail that are printed, at most."""


@click.group(
    epilog="\b\n"
    "Examples:\n"
    "  parlour account add ada --operator\n"
    "  parlour account passwd ada --password-stdin <secret.txt\n"
    "  parlour account list --json\n"
    "  parlour account set newsbot --rate 200\n"
)
def account() -> None:
    """Make, change and remove accounts.

    The commands work on the directory beside the room log, also while nodes run.
    """


@account.command("add", epilog="Example: parlour account add ada --operator")
@click.argument("name", type=NAME)
@click.option("--operator", is_flag=True, help="Make it an operator of the cluster, who may do everything.")
@password_option
@directory_options
def _add(directory: Directory, name: str, operator: bool, password_stdin: bool) -> None:
    """Make an account."""
    directory.accounts.check_free(name)  # before anybody types a password in vain
    made = directory.accounts.add(name, make_password(ask_password(name, password_stdin)), operator)
    _note(directory, "account added", account=made.name, operator=operator)
    what = "the operator" if operator else "the account"
    click.echo(f"made {what} {printable(made.name)} beside the log {printable(chosen_log())}")


@account.command("passwd", epilog="Example: parlour account passwd ada")
@click.argument("name", type=NAME)
@password_option
@directory_options
def _passwd(directory: Directory, name: str, password_stdin: bool) -> None:
    """Give an account another password.

    Devices that are signed in stay so.
    """
    known = _account(directory, name)
    directory.accounts.set_password(known.name, make_password(ask_password(known.name, password_stdin)))
    _note(directory, "password set", account=known.name)
    click.echo(f"set the password of {printable(known.name)}")


@account.command("disable", epilog="Example: parlour account disable ada")
@click.argument("name", type=NAME)
@directory_options
def _disable(directory: Directory, name: str) -> None:
    """Let nobody sign in to an account until it is enabled."""
    known = directory.accounts.change(_account(directory, name).name, disabled=True)
    _note(directory, "account disabled", account=known.name)
    click.echo(f"disabled the account {printable(known.name)}")


@account.command("enable", epilog="Example: parlour account enable ada")
@click.argument("name", type=NAME)
@directory_options
def _enable(directory: Directory, name: str) -> None:
    """Let people sign in to a disabled account again."""
    known = directory.accounts.change(_account(directory, name).name, disabled=False)
    _note(directory, "account enabled", account=known.name)
    click.echo(f"enabled the account {printable(known.name)}")


@account.command("remove", epilog="Example: parlour account remove ada")
@click.argument("name", type=NAME)
@directory_options
def _remove(directory: Directory, name: str) -> None:
    """Remove an account for good, with its devices, memberships and read marks.

    Its name stays reserved, so that nobody gets its roles and private conversations. What it said stays.
    """
    known = _account(directory, name)
    directory.accounts.remove(known.name)
    _note(directory, "account removed", account=known.name)
    click.echo(f"removed the account {printable(known.name)}")


@account.command("list", epilog="Example: parlour account list --json | jq -r 'select(.operator).name'")
@json_option
@directory_options
def _list(directory: Directory, as_json: bool) -> None:
    """Print all accounts, each on a line."""
    for each in _accounts(directory):
        if as_json:
            print_json(_as_dict(each))
        else:
            click.echo(f"{printable(each.name):20}  {_date(each.made)}  {_marks(each)}".rstrip())


@account.command("show", epilog="Example: parlour account show ada")
@click.argument("name", type=NAME)
@json_option
@directory_options
def _show(directory: Directory, name: str, as_json: bool) -> None:
    """Show an account and its devices; of a removed one, when it was removed."""
    removed = directory.accounts.removed(name)
    if removed is not None:
        if as_json:
            print_json({"name": removed.name, "removed": removed.at})
        else:
            click.echo(f"{'name':14}  {printable(removed.name)}\n{'removed':14}  {_date(removed.at)}")
        return
    known = _account(directory, name)
    password = directory.accounts.password(known.name) is not None
    devices = directory.tokens.list(known.name)
    if as_json:
        told = [{"id": device.id, "label": device.label, "made": device.made} for device in devices]
        print_json({**_as_dict(known), "password": password, "devices": told})
        return
    rows = [
        ("name", known.name),
        ("display name", known.display or "none"),
        ("operator", _yes(known.operator)),
        ("disabled", _yes(known.disabled)),
        ("made", _date(known.made)),
        ("password", _yes(password)),
        ("posts a second", f"{known.rate:g}" if known.rate else "as all"),
        *(("device", f"{device.id}  {_date(device.made)}  {device.label}") for device in devices),
    ]
    for label, value in rows:
        click.echo(f"{label:14}  {printable(value)}")


@account.command("set", epilog="Example: parlour account set newsbot --rate 200")
@click.argument("name", type=NAME)
@click.option("--rate", type=Number(0, 100_000), help="Posts that it may say each second; 0: as all.")
@click.option("--operator/--no-operator", default=None, help="Whether it is an operator of the cluster.")
@directory_options
def _set(directory: Directory, name: str, rate: float | None, operator: bool | None) -> None:
    """Change what an account may do."""
    changes = {key: value for key, value in (("rate", rate), ("operator", operator)) if value is not None}
    if not changes:
        raise UsageError("give what to change: --rate N, --operator or --no-operator")
    known = directory.accounts.change(_account(directory, name).name, **changes)
    _note(directory, "account changed", account=known.name, **changes)
    click.echo(f"changed the account {printable(known.name)}")


@click.command(epilog="Example: parlour invite --room lobby --uses 10 --expires 30d")
@click.option("--room", type=ROOM, help="A room into which it invites.")
@click.option("--uses", type=click.IntRange(1, 1_000_000), default=1, show_default=True, help="How often it is good.")
@click.option("--expires", type=AGE, default="7d", show_default=True, help="How long it is good.")
@directory_options
def invite(directory: Directory, room: str | None, uses: int, expires: float) -> None:
    """Print a new invitation code, with which a person makes an account."""
    ends = directory.store.now() + round(1000 * expires)
    code = directory.invitations.make(room or "", uses, ends)
    _note(directory, "invitation made", room=room or "", uses=uses, ends=ends)
    click.echo(code)
    place = f" to {printable(room)}" if room else ""
    click.echo(f"an invitation{place}, good {counted(uses, 'time')} until {_date(ends)}", err=True)


@click.command(
    epilog="\b\n"
    "Examples:\n"
    "  parlour ban mallory --for 7d\n"
    "  parlour ban '*bot*'\n"
    "  parlour ban 203.0.113.0/24\n"
    "  parlour ban\n"
)
@click.argument("who", metavar="[NAME|PATTERN|ADDRESS]", required=False)
@click.option("--for", "lasts", type=AGE, help="How long, such as 12h or 7d.  [default: until it is lifted]")
@json_option
@directory_options
def ban(directory: Directory, who: str | None, lasts: float | None, as_json: bool) -> None:
    """Keep a name, a pattern of names or an address out of the cluster; alone, list all bans.

    It also hits names that look alike, but no operator of the cluster. All nodes know of it within seconds.
    """
    if who is not None:
        who = _banned(who)
        ends = directory.store.now() + round(1000 * lasts) if lasts is not None else 0
        # People are told who has banned them. The trail has the name of the system's user.
        directory.bans.add(who, "an operator", ends=ends)
        _note(directory, "banned", who=who, ends=ends)
        click.echo(f"banned {printable(who)}{f' until {_date(ends)}' if ends else ''}")
        return
    for each in directory.bans.list():
        if as_json:
            print_json(each)
        else:
            until = f"until {_date(each.ends)}" if each.ends else "until it is lifted"
            click.echo(printable(f"{each.who:20}  {until}  by {each.by}  {each.reason}".rstrip()))


@click.command(epilog="Example: parlour unban mallory")
@click.argument("who", metavar="NAME|PATTERN|ADDRESS")
@directory_options
def unban(directory: Directory, who: str) -> None:
    """Lift a ban from the cluster."""
    who = _banned(who)
    if not directory.bans.remove(who):
        raise UsageError(f"{who} is not banned from the cluster: `parlour ban` lists all bans")
    _note(directory, "unbanned", who=who)
    click.echo(f"lifted the ban of {printable(who)}")


@click.command(epilog="Example: parlour audit --since 1d --json | jq -r 'select(.what == \"banned\").data.who'")
@click.option("--since", type=AGE, default="1d", show_default=True, help="How far to look back, such as 12h or 7d.")
@json_option
@directory_options
def audit(directory: Directory, since: float, as_json: bool) -> None:
    """Print what operators did and which sign-ins failed, the newest last. Entries are kept for 90 days."""
    entries = directory.trail.entries(directory.store.now() - round(1000 * since), ENTRIES)
    for entry in entries:
        if as_json:
            print_json(entry)
        else:
            data = "  ".join(f"{key}={_value(key, value)}" for key, value in entry.data.items() if value)
            click.echo(printable(f"{_date(entry.at, ':%S')}  {entry.what:16}  {entry.by:16}  {data}".rstrip()))
    if len(entries) == ENTRIES:
        click.echo(f"these are the oldest {ENTRIES:,}: give a shorter --since to see later ones", err=True)


def _account(directory: Directory, name: str) -> Account:
    """Return the account of exactly this name, in any case; raises UsageError if there is none."""
    known = directory.accounts.get(name)
    if known is None:
        removed = directory.accounts.removed(name)
        if removed is not None:
            raise UsageError(f"the account {removed.name} was removed on {_date(removed.at)}: that cannot be undone")
        raise UsageError(f"there is no account {name} beside the log {chosen_log()}: `parlour account list` shows all")
    if known.name.casefold() != name.casefold():
        raise UsageError(f"there is no account {name}, but one that looks like it: {known.name}")
    return known


def _accounts(directory: Directory) -> Iterator[Account]:
    after = ""
    while page := directory.accounts.list(after, PAGE):
        yield from page
        after = page[-1].skeleton


def _banned(who: str) -> str:
    """Return the mask of a ban as it is kept; raises UsageError for what is none, and for a mistyped address."""
    mask = check_mask(who)
    if re.fullmatch(r"[0-9./:]*[./:][0-9./:]*", mask):
        try:
            ipaddress.ip_network(mask)
        except ValueError:
            raise UsageError(f"{mask} is no address: give one such as 203.0.113.7 or 2001:db8::/64") from None
    return mask


def _note(directory: Directory, what: str, **data: Any) -> None:
    directory.trail.add(what, user(), data)


def _as_dict(known: Account) -> dict[str, Any]:
    return {
        "name": known.name,
        "display": known.display,
        "operator": known.operator,
        "disabled": known.disabled,
        "made": known.made,
        "rate": known.rate,
    }


def _marks(known: Account) -> str:
    """Return what is special about an account, in words."""
    marks = ["operator"] * known.operator + ["disabled"] * known.disabled
    if known.rate:
        marks.append(f"{known.rate:g} posts/s")
    return ", ".join(marks)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _value(key: str, value: Any) -> str:
    """Return a value of a trail entry for people."""
    if key == "ends":
        return _date(value)
    return _yes(value) if isinstance(value, bool) else str(value)


def _date(at: int, seconds: str = "") -> str:
    """Return the local time of a moment in ms since the Unix epoch, with the form of the seconds or without them."""
    time = local_time(at)
    return f"{time:%Y-%m-%d %H:%M{seconds}}" if time is not None else "at no time"
