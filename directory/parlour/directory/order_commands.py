"""The commands `kick` and `say`, with which operators reach people who are connected.

This module owns their options and what they print; they run on the main thread. They must never say that all nodes
did it if some have not answered.
"""

from __future__ import annotations

import click

from parlour.directory.commands import directory_options, user
from parlour.directory.directory import Directory
from parlour.directory.orders import check_line
from parlour.runtime.operator_messages import print_error, printable
from parlour.runtime.options import NAME, Checked
from parlour.runtime.output import counted
from parlour.wire.errors import ParlourError, UsageError

__all__ = ["kick", "note_missing", "say"]

_LINE = Checked("TEXT", check_line)


@click.command(epilog='Example: parlour kick mallory --reason "no advertising here"')
@click.argument("name", type=NAME)
@click.option("--reason", type=_LINE, default="", help="What the person is told.")
@directory_options
def kick(directory: Directory, name: str, reason: str) -> None:
    """End all connections of an account or guest, on all nodes.

    The person is told why, and may sign in anew at once: `parlour ban` keeps somebody out.
    """
    connections, missing = directory.orders.kick(user(), name, reason)
    note_missing(missing)
    if not connections:
        raise ParlourError(f"nobody is connected as {name}: no connection was ended")
    click.echo(f"ended {counted(connections, 'connection')} of {printable(name)}")


@click.command(epilog='Example: parlour say --all "the cluster restarts at ten"')
@click.option("--all", "to_all", is_flag=True, help="Say it to everybody; there is no other choice.")
@click.argument("text", type=_LINE)
@directory_options
def say(directory: Directory, to_all: bool, text: str) -> None:
    """Say something to everybody who is connected, on all nodes.

    It is shown in `parlour chat`, and reaches programs that speak protocol 1.3 as news. `parlour send` says something
    in a room.
    """
    if not to_all:
        raise UsageError("everybody who is connected will read this: give --all, or use `parlour send` for a room")
    if not text:
        raise UsageError("give a text to say")
    missing = directory.orders.announce(user(), text)
    note_missing(missing)
    click.echo("said to everybody")


def note_missing(missing: int) -> None:
    """Tell the operator how many nodes have not answered an order, if some have not."""
    if missing:
        note = f"{counted(missing, 'node')} did not answer: stopped in the last 30 s, or cut off from the directory"
        print_error(f"note: {note}")
