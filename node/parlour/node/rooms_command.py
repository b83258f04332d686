"""The command `rooms`, with which operators see all rooms.

This module owns its options and what it prints; it runs on the main thread. It reads the log and asks the nodes through
the directory. It must never show a private conversation, nor read without an end.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
from msgspec import Struct
from rich.cells import cell_len, set_cell_size

from parlour.directory.commands import log_option
from parlour.directory.directory import Directory
from parlour.directory.opening import open_store
from parlour.directory.order_commands import note_missing
from parlour.node.log import RoomLog
from parlour.node.log.opening import open_log
from parlour.node.log.room_states import state_of
from parlour.runtime.log_urls import parse_log_url
from parlour.runtime.operator_messages import print_error, printable
from parlour.runtime.options import json_option
from parlour.runtime.output import print_json
from parlour.wire.errors import ParlourError
from parlour.wire.limits import is_direct

__all__ = ["rooms"]

PAGE = 500
"""Names of rooms that one question to the log returns, at most."""

PATIENCE = 30.0
"""Seconds for which the log is read, at most."""


class _Row(Struct, frozen=True):
    """A room; `people` and `nodes` are those that are in it now."""

    name: str
    people: int
    nodes: int
    owner: str
    secret: bool
    topic: str


@click.command(epilog="\b\nExamples:\n  parlour rooms\n  parlour rooms --json | jq -r 'select(.people > 0).name'\n")
@json_option
@log_option
def rooms(log: str, as_json: bool) -> None:
    """List all rooms by name: the people and nodes in each now, its owner and its topic.

    Secret rooms are listed, private conversations are not.
    """
    with _opened(log) as opened, closing(open_store(log)) as store:
        here, missing = Directory(store).orders.rooms()
        rows, whole = _rows(opened, here)
    note_missing(missing)
    if not whole:
        print_error(f"note: the log was read for {PATIENCE:g} s; rooms that follow by name and are empty are left out")
    if as_json:
        for row in rows:
            print_json(row)
    else:
        _print_table(rows)


@contextmanager
def _opened(url: str) -> Iterator[RoomLog]:
    """Open a log that exists; raises ParlourError if there is none."""
    where = parse_log_url(url)
    if where.engine == "sqlite" and not Path(where.place).exists():
        raise ParlourError(f"there is no room log {where.place}: start a node, or name another log with --log")
    with closing(open_log(url)) as log:
        yield log


def _rows(log: RoomLog, here: list[dict[str, int]]) -> tuple[list[_Row], bool]:
    """Return the rooms of the log and those of the nodes, and whether these are all."""
    deadline = time.monotonic() + PATIENCE
    rows = {name: _row(log, name, here) for name in {name for node in here for name in node}}
    after = ""
    while names := log.rooms(after, PAGE):
        for after in names:
            if time.monotonic() > deadline:
                return sorted(rows.values(), key=lambda row: row.name), False
            if after not in rows and not is_direct(after):
                rows[after] = _row(log, after, here)
    return sorted(rows.values(), key=lambda row: row.name), True


def _row(log: RoomLog, name: str, here: list[dict[str, int]]) -> _Row:
    state = state_of(log, name)
    counts = [node[name] for node in here if name in node]  # each node counts the people on all nodes
    owner = state.roles[state.owner].name if state.owner in state.roles else ""
    return _Row(name, max(counts, default=0), len(counts), owner, state.settings.secret, state.topic)


def _print_table(rows: list[_Row]) -> None:
    lines = [("room", "people", "nodes", "owner", "secret", "topic")]
    for row in rows:
        numbers = (str(row.people), str(row.nodes))
        lines.append((printable(row.name), *numbers, printable(row.owner), "yes" * row.secret, printable(row.topic)))
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    most = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in lines:
        cells = [_cell(line[column], width, column in (1, 2)) for column, width in enumerate(widths)]
        text = "  ".join([*cells, line[-1]]).rstrip()
        click.echo(set_cell_size(text, most - 1) + "…" if 0 < most < cell_len(text) else text)


def _cell(text: str, width: int, number: bool) -> str:
    """Return a cell of a table, in cells of the terminal: a wide character takes two."""
    space = " " * (width - cell_len(text))
    return space + text if number else text + space
