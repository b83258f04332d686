"""The commands of the client: `chat` for a person, `send` and `tail` for scripts.

This module owns their options and their exit statuses; it runs on the program's main thread. It must never print an
error itself: what goes wrong is raised as a ParlourError, and the group that holds the commands says it.
"""

from __future__ import annotations

import getpass
import secrets
import sys
from datetime import datetime

import click

from parlour.client.chat import connect
from parlour.client.display import Lines
from parlour.client.errors import DisconnectedError
from parlour.client.events import Changed, Disconnected, Message
from parlour.client.room import Room
from parlour.client.sender import Arguments, Input, Sender, Source, enter
from parlour.runtime.options import NAME, ROOM, brokers_option, json_option
from parlour.runtime.output import in_colour, is_dumb, json_line
from parlour.wire.errors import ParlourError, UsageError
from parlour.wire.limits import MAX_NAME, check_name, check_text

__all__ = ["chat", "send", "tail"]


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
def chat(brokers: tuple[str, ...], name: str | None, room: str | None) -> None:
    """Talk with others in this terminal.

    Type a line to say it, /help for what else there is. Ctrl-C or Ctrl-D leaves.
    """
    # Imported here, as only this command needs it and every other would start later for it.
    from prompt_toolkit.patch_stdout import patch_stdout

    from parlour.client.keyboard import Pipe, Terminal
    from parlour.client.terminal import Conversation
    from parlour.client.typed import Suggestions, Typed

    asked = sys.stdin.isatty() and sys.stdout.isatty()
    interactive = asked and not is_dumb()
    try:
        name = name or _asked("Your name", NAME, _login_name(), asked)
        room = room or _asked("Room", ROOM, "lobby", asked)
    except click.Abort:
        click.echo()  # ends the question's line, in which the shell's prompt would stand
        return
    with connect(brokers, name, room=room) as session:
        if interactive:
            typed = Typed()
            terminal = Terminal(in_colour(), typed)
            conversation = Conversation(session, terminal, Lines(in_colour(), session.name))
            terminal.complete(Suggestions(conversation.rooms, conversation.people))
            try:
                with patch_stdout(raw=True):
                    conversation.run(room, typed.trouble)
            finally:
                terminal.close()
        else:
            pipe = Pipe(sys.stdin.fileno())
            try:
                Conversation(session, pipe, Lines(colour=False, person=session.name if asked else None)).run(room)
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
@click.option("--name", type=NAME, required=True, help="The name to speak under.")
@click.option("--room", type=ROOM, required=True, help="The room to speak in.")
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
def send(brokers: tuple[str, ...], name: str, room: str, texts: tuple[str, ...]) -> None:
    """Say each TEXT, or each line of standard input, in a room.

    Exits with 0 once every message is acknowledged: logged, in this order. While the connection or the room log is
    away, waits for it, 30 s for each message. What is lost is told at once; the others are said all the same.

    A line of standard input with more than 16 KiB is said as several messages, and what is not UTF-8 in it as U+FFFD;
    the exit status is 1 then, too. Standard input is always read to its end.
    """
    # Before any of them is said.
    source: Source = Arguments([check_text(text) for text in texts]) if texts else Input(sys.stdin.fileno())
    try:
        with connect(brokers, name, room=room) as session:
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
@click.option("--name", type=NAME, help="The name to be seen under.  [default: seen by nobody]")
@click.option("--history", type=click.IntRange(min=0), default=0, show_default=True, help="Old messages to begin with.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many lines, old ones included.")
@json_option
def tail(brokers: tuple[str, ...], room: str, name: str | None, history: int, count: int | None, as_json: bool) -> None:
    """Print what is said in a room, a line per message, as it comes; a lost connection is found again.

    Edits, deletions and reactions are lines, too. With --json a line is an object with room, offset, id, by, at
    (milliseconds since 1970), text and replay; and where they are not empty kind, ref (the offset of the message that
    this line is about), account and data.
    """
    observer = name is None
    name = name or f"tail-{secrets.token_hex(3)}"
    try:
        with connect(brokers, name, room=room, observer=observer) as session:
            _print_all(session.join(room, history), count, as_json)
    except KeyboardInterrupt:
        pass


_ALWAYS = ("room", "offset", "id", "by", "at", "text", "replay")
_IF_ANY = ("kind", "ref", "account", "data")


def _fields(record: Message) -> dict[str, object]:
    """Return what `tail --json` tells of a record: all of it, as it is logged."""
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
