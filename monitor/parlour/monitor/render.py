"""The fleet and the broker's decisions as tables for a terminal.

This module owns their columns and colours; its functions are pure and may run on any thread. It must never print a
control character that a node or a broker has sent.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group
from rich.table import Table
from rich.text import Text

from parlour.monitor.table import Row, Snapshot
from parlour.runtime.operator_messages import printable
from parlour.runtime.output import counted, local_time
from parlour.wire.control import Candidate, Decision, is_here

__all__ = ["decision_table", "load_table", "moves_table", "status_table"]

_COLOURS = {"ok": "green", "full": "yellow", "draining": "cyan", "late": "yellow", "lost": "red", "gone": "dim"}


def _plain(text: str) -> Text:
    """Return the text with visible characters in place of control characters; rich finds no markup in it."""
    return Text(printable(text))


def _state(state: str) -> Text:
    text = _plain(state)
    text.stylize(_COLOURS.get(state, ""))
    return text


def _age(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def _rate(number: float) -> str:
    """Return the rate in at most five characters, such as 0.4, 12, 9800 or 1.2M."""
    if number < 10:
        return f"{number:.1f}" if number else "0"
    for limit, unit in ((1e4, ""), (1e6, "k"), (1e9, "M")):
        if number < limit:
            scaled = number / {"": 1, "k": 1e3, "M": 1e6}[unit]
            return f"{scaled:.1f}{unit}" if unit and scaled < 100 else f"{scaled:.0f}{unit}"
    return f"{number:.0e}"


def _table(*columns: str) -> Table:
    # One space between columns, so that all of them fit into 80.
    table = Table(box=None, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        words = number == 0 or column in ("address", "state", "note", "to")
        # In a narrow terminal a long name or address continues in the next line, because a cut one is of no use.
        long = column in ("node", "address")
        table.add_column(
            column, justify="left" if words else "right", no_wrap=not long, overflow="fold" if long else "ellipsis"
        )
    return table


def status_table(broker: str, uptime: float, assigned: int, refused: int, snapshot: Snapshot) -> Group:
    """Return the table of the nodes and their addresses for clients; `uptime` is in seconds."""
    title = _plain(f"broker {broker}, up {_age(uptime)}: {counted(assigned, 'client')} assigned, {refused} refused")
    table = _table("node", "address", "clients", "rooms", "age", "state")
    for row in snapshot.rows:
        report = row.report
        table.add_row(
            _plain(report.node),
            _plain(report.address),
            f"{report.clients}/{report.capacity}",
            str(report.rooms),
            _age(row.age),
            _state(row.state),
        )
    return Group(title, table, _totals(snapshot), *_troubles(snapshot))


def load_table(broker: str, snapshot: Snapshot, silent: float = 0.0) -> Group:
    """Return the table of the nodes' load; `silent`: seconds since the last publication, 0 if that is usual."""
    title = _plain(f"broker {broker}" + (f" (nothing heard for {silent:.0f} s: is it running?)" if silent else ""))
    table = _table(
        *("node", "clients", "rooms", "in/s", "out/s", "p50 ms", "p99 ms", "lagging", "cpu %", "MiB", "age", "state")
    )
    for row in snapshot.rows:
        table.add_row(*_load(row), style="" if is_here(row.state) else "dim")
    return Group(title, table, _totals(snapshot), *_troubles(snapshot))


def _load(row: Row) -> list[str | Text]:
    report = row.report
    return [
        _plain(report.node),
        f"{report.clients}/{report.capacity}",
        str(report.rooms),
        _rate(report.messages_in),
        _rate(report.messages_out),
        _rate(report.wait_p50),
        _rate(report.wait_p99),
        str(report.lagging),
        f"{report.cpu * 100:.0f}",
        f"{report.memory / 2**20:.0f}",
        _age(row.age),
        _state(row.state),
    ]


def _totals(snapshot: Snapshot) -> Text:
    here = snapshot.here
    if not here:
        return Text(
            "no node is in the fleet: start one with `parlour node`, or start a cluster again with `parlour up -d`"
        )
    return Text(
        f"{counted(len(here), 'node')}, {snapshot.clients} of {counted(snapshot.capacity, 'client')}, "
        f"imbalance {snapshot.imbalance:.2f}, "
        f"{_rate(sum(row.report.messages_in for row in here))} in/s, "
        f"{_rate(sum(row.report.messages_out for row in here))} out/s"
    )


def _troubles(snapshot: Snapshot) -> list[Text]:
    lines = [_plain(trouble) for trouble in snapshot.troubles]
    for line in lines:
        line.stylize("yellow")
    return lines


def decision_table(decision: Decision) -> Group:
    """Return one decision: the client, the time, the node, the reason, and the nodes to choose from."""
    at = local_time(decision.at)
    when = "?" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")
    client = decision.name if decision.room is None else f"{decision.name}, for room {decision.room},"
    where = "was refused" if decision.node is None else f"went to {decision.node}"
    title = _plain(f"{when} {client} {where}: {decision.reason}")
    table = _table("node", "load", "clients", "pending", "age", "note")
    for candidate in decision.candidates:
        table.add_row(*_candidate(candidate), style="bold" if candidate.node == decision.node else "")
    return Group(title, table, *([f"and {counted(decision.others, 'node')} more"] if decision.others else []))


def _candidate(candidate: Candidate) -> list[str | Text]:
    return [
        _plain(candidate.node),
        f"{candidate.load:.4g}",
        f"{candidate.clients}/{candidate.capacity}",
        str(candidate.pending),
        _age(candidate.age),
        _plain(candidate.note),
    ]


def moves_table(moves: Iterable[tuple[str, str, int]]) -> Table:
    """Return the table of moves: source, target and number of clients."""
    table = _table("from", "to", "clients")
    for source, target, count in moves:
        table.add_row(_plain(source), _plain(target), str(count))
    return table
