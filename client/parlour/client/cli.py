"""The commands of the client: `chat` for people, `send` and `tail` for scripts.

This module owns their options and exit statuses; it runs on the main thread. It must never print an error itself: it
raises a ParlourError, which the group of commands prints.
"""

from __future__ import annotations

import getpass
import secrets
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from parlour.client.display import Lines
from parlour.client.errors import DisconnectedError
from parlour.client.events import Changed, Disconnected, Message
from parlour.client.login import Login, password_option
from parlour.client.people_commands import device_line
from parlour.client.room import Room
from parlour.client.sender import Arguments, Input, Sender, Source, enter
from parlour.runtime.options import NAME, ROOM, brokers_option, json_option
from parlour.runtime.output import in_colour, is_dumb, json_line
from parlour.wire.errors import ParlourError, UsageError
from parlour.wire.limits import MAX_NAME, check_name, check_text

__all__ = ["chat", "devices", "logout", "send", "tail"]


def _login_name() -> str:
    try:
        return check_name(getpass.getuser()[:MAX_NAME])
    except (OSError, KeyError, UsageError):
        return "guest"


@click.command(
    epilog="""\b
Examples:
  parlour chat
  parlour chat --name ada --room lobby
  parlour chat --broker chat.example.org:6000"""
)
@brokers_option
@click.option("--name", type=NAME, help="Your name; asked for if not given.")
@click.option("--room", type=ROOM, help="The room to enter; asked for if not given.")
@password_option
def chat(brokers: tuple[str, ...], name: str | None, room: str | None, password_file: Path | None) -> None:
    """Talk with others in this terminal.

    Type a line to send it, or /help for the commands. Ctrl-C or Ctrl-D leaves. If the name is an account, its password
    is asked for once; then this device is known, until `parlour logout`.
    """
    # Imported here, since it takes time and only this command needs it.
    from prompt_toolkit.patch_stdout import patch_stdout

    from parlour.client.conversation import Conversation
    from parlour.client.inputhistory import InputHistory, TabCompleter
    from parlour.client.keyboard import Pipe, Terminal

    asked = sys.stdin.isatty() and sys.stdout.isatty()
    interactive = asked and not is_dumb()
    chosen = name is not None
    try:
        name = name or _asked("Your name", NAME, _login_name(), asked)
        room = room or _asked("Room", ROOM, "lobby", asked)
        login = Login(brokers, password_file, asked)
        entered = login.connect(name, chosen, room=room)
    except click.Abort:
        click.echo()  # Ends the line of the question; otherwise the shell's prompt would stand in it.
        return
    with entered as session:
        if interactive:
            typed = InputHistory()
            terminal = Terminal(in_colour(), typed)
            conversation = Conversation(session, terminal, Lines(in_colour(), session), login.keep)
            terminal.complete(TabCompleter(conversation.rooms, conversation.people))
            try:
                with patch_stdout(raw=True):
                    conversation.run(room, typed.trouble)
            finally:
                terminal.close()
        else:
            pipe = Pipe(sys.stdin.fileno())
            try:
                lines = Lines(colour=False, reader=session if asked else None)
                Conversation(session, pipe, lines, login.keep).run(room)
            finally:
                pipe.close()


def _asked(question: str, kind: click.ParamType[str], default: str, interactive: bool) -> str:
    answer: str = click.prompt(question, type=kind, default=default) if interactive else default
    return answer


@click.command(
    epilog="""\b
Examples:
  parlour send --name bot --room lobby "the build is green"
  make 2>&1 | parlour send --name make --room builds"""
)
@brokers_option
@click.option("--name", type=NAME, required=True, help="The name to send under.")
@click.option("--room", type=ROOM, required=True, help="The room to send to.")
@password_option
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
def send(brokers: tuple[str, ...], name: str, room: str, password_file: Path | None, texts: tuple[str, ...]) -> None:
    """Send each TEXT, or each line of standard input, to a room.

    Exits with 0 once every message is acknowledged: it is logged, and all are in order. If the connection or the room
    log is away, each message waits for it for 30 s. Lost messages are reported at once; the others are sent all the
    same.

    A line with more than 16 KiB is sent as several messages, and bytes that are not UTF-8 become U+FFFD; the exit
    status is 1 then, too. Standard input is always read to its end.
    """
    # All texts are checked before the first is sent.
    source: Source = Arguments([check_text(text) for text in texts]) if texts else Input(sys.stdin.fileno())
    try:
        with Login(brokers, password_file).connect(name, chosen=True, room=room) as session:
            Sender(enter(session, room), source).run()
    except ParlourError as error:
        source.drain(str(error))
        raise


@click.command(
    epilog="""\b
Examples:
  parlour tail --room lobby
  parlour tail --room lobby --history 100 --json | jq -r .text
  parlour tail --room builds --count 1"""
)
@brokers_option
@click.option("--room", type=ROOM, required=True, help="The room to listen to.")
@click.option("--name", type=NAME, help="The name to be shown under.  [default: not shown to anybody]")
@click.option("--history", type=click.IntRange(min=0), default=0, show_default=True, help="Old records to begin with.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many lines, old ones included.")
@password_option
@json_option
def tail(
    brokers: tuple[str, ...],
    room: str,
    name: str | None,
    history: int,
    count: int | None,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Print the messages of a room as they come, one line for each. A lost connection is replaced.

    Edits, deletions and reactions are lines, too. With --json each record is an object with room, offset, id, by, at
    (milliseconds since 1970), text and replay; and, if they are not empty, kind, ref (the offset of the record that
    this one refers to), account and data.
    """
    observer = name is None
    name = name or f"tail-{secrets.token_hex(3)}"
    try:
        login = Login(brokers, password_file)
        with login.connect(name, chosen=True, room=room, observer=observer) as session:
            _print_all(session.join(room, history), count, as_json)
    except KeyboardInterrupt:
        pass


_ALWAYS = ("room", "offset", "id", "by", "at", "text", "replay")
_IF_ANY = ("kind", "ref", "account", "data")


def _fields(record: Message) -> dict[str, object]:
    """Return the fields that `tail --json` prints of a record, as it is logged."""
    told: dict[str, object] = {name: getattr(record, name) for name in _ALWAYS}
    return told | {name: value for name in _IF_ANY if (value := getattr(record, name))}


def _print_all(room: Room, count: int | None, as_json: bool) -> None:
    lines = Lines(colour=sys.stdout.isatty() and in_colour())
    out = sys.stdout.buffer
    printed = 0
    for event in room.events():
        if isinstance(event, Disconnected):
            raise DisconnectedError(event.reason)
        if not isinstance(event, Message | Changed):
            continue
        if as_json:
            line = json_line(_fields(event if isinstance(event, Message) else event.record))
        elif isinstance(event, Changed):
            line = lines.changed(event, datetime.now())
        elif event.redacted:
            continue
        else:
            answered = None if event.reply_to is None else room.message(event.reply_to)
            line = lines.message(event, datetime.now(), answered=answered)
        if not line:
            continue
        out.write(line.encode() + b"\n")
        out.flush()
        printed += 1
        if printed == count:
            return


@click.command(epilog="Example: parlour logout --name ada")
@brokers_option
@click.option("--name", type=NAME, help="The account.  [default: your login name]")
def logout(brokers: tuple[str, ...], name: str | None) -> None:
    """Sign this device out: the next `parlour chat` asks for the password again."""
    name = name or _login_name()
    Login(brokers, None).forget(name)
    click.echo(f"this device is signed out of {name}")


@click.command(
    epilog="""\b
Examples:
  parlour devices --name ada
  parlour devices --name ada --revoke 1f2e3d4c"""
)
@brokers_option
@click.option("--name", type=NAME, help="The account.  [default: your login name]")
@click.option("--revoke", metavar="ID", help="Sign this device out.")
@password_option
@json_option
def devices(
    brokers: tuple[str, ...], name: str | None, revoke: str | None, password_file: Path | None, as_json: bool
) -> None:
    """List the devices that are signed in to your account, or sign one of them out."""
    asking = sys.stdin.isatty() and sys.stderr.isatty()
    with Login(brokers, password_file, asking).connect(name or _login_name(), chosen=True, observer=True) as session:
        if revoke is not None:
            session.revoke(revoke)
        for device in session.devices():
            if as_json:
                click.echo(json_line(asdict(device)))
            else:
                click.echo(device_line(device))
