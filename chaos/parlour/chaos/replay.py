"""The command `replay`: plays recorded days of a channel on a cluster, with a client for each nick, and judges them.

This module owns the clients of the nicks and the course of the replay. It runs on the main thread. It must never wait
without a deadline: the verdict tells what did not come.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from parlour.chaos.chatlog import Log, Said, Went, crowd, numbers, parse_log
from parlour.chaos.observer import Observer
from parlour.chaos.verdict import Line, Verdict, faults, judge, percentile, summary
from parlour.client.chat import Chat, connect
from parlour.client.errors import NameTakenError
from parlour.client.room import Room
from parlour.runtime.broker_rpc import ask
from parlour.runtime.options import ROOM, Number, brokers_option, json_option
from parlour.runtime.output import counted, print_json
from parlour.wire.control import FleetStatus, Status
from parlour.wire.errors import ParlourError, ProtocolError, UnavailableError, UsageError
from parlour.wire.limits import check_room

__all__ = ["replay"]

ENTERING = 10.0
"""Seconds within which a client must have joined the room."""

ACKNOWLEDGED = 10.0
"""Seconds within which a line must be acknowledged."""

PATIENCE = 60.0
"""Seconds that all failures together may take; then the replay is given up."""

HEARD = 30.0
"""Seconds after the last acknowledgement within which observers must have heard the rest."""

LISTENING = 0.25
"""Seconds for which observers listen on after the last line, for lines that should not come."""

SPARE_FILES = 100
"""Files that the program needs besides one for each client."""

DEAF = 1
"""Events kept for a nick: it only posts, and the observers listen."""

WIDE = 120
"""Columns if the output is no terminal, so that no line is folded."""


@dataclass(frozen=True)
class _Recording:
    """A log, and the room in which to play it."""

    file: Path
    room: str
    log: Log

    @property
    def lines(self) -> int:
        return sum(isinstance(entry, Said) for entry in self.log.entries)


@dataclass
class _Performance:
    """The outcome of playing a log."""

    said: int = 0
    acknowledged: list[Line] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


class _Cast:
    """The nicks of a log: each is a client of its own in this room, and keeps none of the events there."""

    def __init__(self, brokers: Sequence[str], room: str) -> None:
        self.names: set[str] = set()
        self._brokers = brokers
        self._room = room
        self._here: dict[str, tuple[Chat, Room]] = {}

    def __enter__(self) -> _Cast:
        return self

    def __exit__(self, *_: object) -> None:
        for nick in list(self._here):
            self.leave(nick)

    def enter(self, nick: str) -> Room:
        """Return the nick's room; connect and join it if necessary; raises as `connect` and `Chat.join` do."""
        if nick not in self._here:
            self.names.add(nick)
            chat = self._connect(nick)
            try:
                self._here[nick] = chat, chat.join(self._room, timeout=ENTERING, backlog=DEAF)
            except BaseException:
                chat.close()
                raise
        return self._here[nick][1]

    def _connect(self, nick: str) -> Chat:
        """Connect under this nick, or a free one like it: in IRC, nicks that look alike may be different people."""
        try:
            return connect(self._brokers, nick, room=self._room, timeout=ENTERING)
        except NameTakenError as taken:
            return connect(self._brokers, taken.free or nick, room=self._room, timeout=ENTERING)

    def leave(self, nick: str) -> None:
        """Close the nick's client, if there is one."""
        if nick in self._here:
            chat, _ = self._here.pop(nick)
            chat.close()


def _play(recording: _Recording, cast: _Cast, speed: float | None, advance: Callable[[], object]) -> _Performance:
    """Play the log and call `advance` after each entry; note failures, and stop when they have taken too long."""
    performance = _Performance()
    began = time.monotonic()
    wasted = 0.0
    for entry in recording.log.entries:
        if speed is not None:
            time.sleep(max(0.0, began + entry.at / speed - time.monotonic()))
        tried = time.monotonic()
        try:
            if isinstance(entry, Went):
                cast.leave(entry.nick)
            elif isinstance(entry, Said):
                performance.said += 1
                performance.acknowledged.append(_say(cast.enter(entry.nick), entry))
            else:
                cast.enter(entry.nick)
        except ParlourError as error:
            performance.failures.append(f"{recording.file.name}:{entry.line}: {entry.nick}: {error}")
            # The nick connects again with its next line.
            cast.leave(entry.nick)
            wasted += time.monotonic() - tried
            if wasted > PATIENCE:
                break
        advance()
    performance.seconds = time.monotonic() - began
    return performance


def _say(room: Room, said: Said) -> Line:
    """Post a line and return it as it was logged; raises as `Room.say` does."""
    at = time.monotonic()
    message = room.say(said.text, ACKNOWLEDGED, kind=said.kind)
    return Line(at, message.offset, message.id, message.by, said.text, said.kind)


def _perform(
    recording: _Recording,
    brokers: Sequence[str],
    nodes: Sequence[str],
    speed: float | None,
    advance: Callable[[], object],
) -> Verdict:
    """Play a log while an observer listens at each of these nodes; judge what the observers heard."""
    with ExitStack() as leaving:
        observers = [leaving.enter_context(Observer(brokers, node, recording.room)) for node in nodes]
        with _Cast(brokers, recording.room) as cast:
            performance = _play(recording, cast, speed, advance)
        last = max((line.offset for line in performance.acknowledged), default=0)
        deadline = time.monotonic() + HEARD
        for observer in observers:
            observer.hear_out(last, deadline)
        time.sleep(LISTENING)
    ends = [f"an observer at {observer.node} heard no more: {observer.lost}" for observer in observers if observer.lost]
    return Verdict(
        file=str(recording.file),
        room=recording.room,
        clients=len(cast.names),
        lines=recording.lines,
        unread=recording.log.unread,
        mended=recording.log.mended,
        said=performance.said,
        acknowledged=len(performance.acknowledged),
        seconds=performance.seconds,
        observers=tuple(judge(observer.node, performance.acknowledged, observer.heard) for observer in observers),
        failures=(*performance.failures, *ends),
    )


def _read(file: Path, room: str | None, encoding: str) -> _Recording:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    log = parse_log(data, str(file), encoding)
    try:
        return _Recording(file, room or check_room(file.stem), log)
    except UsageError as error:
        raise UsageError(f"{file} needs a --room, as its name makes none: {error}") from None


def _nodes(brokers: Sequence[str]) -> list[str]:
    """Return the names of the nodes that take clients; raises UnavailableError if there is none."""
    broker, fleet = ask(brokers, Status())
    if not isinstance(fleet, FleetStatus):
        raise ProtocolError(f"{broker} answered {type(fleet).__name__}, not how the fleet is: is it a broker?")
    nodes = [state.report.node for state in fleet.nodes if state.state not in ("lost", "gone", "draining")]
    if not nodes:
        raise UnavailableError(f"no chat node is alive at {broker}: start one with `parlour node`")
    return sorted(nodes)


def _allow_files(clients: int) -> None:
    """Raise the limit of open files as far as these clients need; raises ParlourError if that is not allowed."""
    needed = clients + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ParlourError(
            f"{counted(clients, 'client')} at once need {needed} open files, and {hard} are allowed: "
            "raise `ulimit -n` to that"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _table(verdict: Verdict) -> Table:
    title = (
        f"{verdict.room}: {counted(verdict.clients, 'client')}, {verdict.said} said, "
        f"{verdict.acknowledged} acknowledged in {verdict.seconds:.1f} s"
    )
    if verdict.unread:
        title += f"\n{len(verdict.unread)} unread: {numbers(verdict.unread)}"
    if verdict.mended:
        title += f"\n{len(verdict.mended)} with U+FFFD for a broken character: {numbers(verdict.mended)}"
    columns = ("node", "received", "lost", "duplicated", "reordered", "differing", "foreign", "p50 ms", "p99 ms")
    table = Table(title=Text(title), title_justify="left", box=None, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, justify="left" if column == "node" else "right", no_wrap=True)
    for tally in verdict.observers:
        table.add_row(
            Text(tally.node),
            str(tally.received),
            *(Text(str(count), "bold red" if count else "green") for count in tally.faults.values()),
            str(tally.foreign),
            *(
                "-" if (latency := percentile(tally.latencies, percent)) is None else f"{latency:.1f}"
                for percent in (50, 99)
            ),
        )
    return table


@click.command(
    epilog="""\b
Logs that are read, with times [12:34] or [12:34:56]:
  [12:34] <ada> text                        what is said, in all of them
  [12:34] * ada waves                       what somebody does, in all of them
  === ada has joined #chan                  Ubuntu's: left, quit, changes of name
  [12:34] * Joins: ada (a@host)             mIRC: the same, Parts: and Quits: too
  [12:34] *** ada is now known as ada_      Colabti, ZNC: the same

An indented line without a time goes on with the line said before it. Other lines are unread: they are counted, and the
first are named. A file with over 2 % of them is refused. U+FFFD stands for a character that was cut in half.

\b
Examples:
  parlour replay channel.txt
  parlour replay --speed 60 --room rerun monday.txt tuesday.txt
  parlour replay --json channel.txt | jq .perfect"""
)
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@brokers_option
@click.option("--room", type=ROOM, help="The room to play in.  [default: the file's name without its ending]")
@click.option(
    "--speed",
    type=Number(min=0.001),
    help="Times as fast as it happened.  [default: as fast as acknowledgements come]",
)
@click.option(
    "--observers", type=click.IntRange(min=1), default=2, show_default=True, help="Clients per node that hear it all."
)
@click.option("--encoding", default="utf-8", show_default=True, help="The encoding of the files, such as cp1252.")
@json_option
def replay(
    files: tuple[Path, ...],
    brokers: tuple[str, ...],
    room: str | None,
    speed: float | None,
    observers: int,
    encoding: str,
    as_json: bool,
) -> None:
    """Play recorded days of a channel on a cluster, one after the other, and judge the delivery.

    Each nick is a client that comes and goes as the log tells, and posts its lines in the order of the log. Exits with
    1 unless every observer heard every line once, in order and unchanged. Messages that others post in the room
    meanwhile count as foreign, and are no fault.
    """
    recordings = [_read(file, room, encoding) for file in files]
    # One day of many may be quiet, but without any line there is nothing to judge.
    if not any(recording.lines for recording in recordings):
        names = ", ".join(str(recording.file) for recording in recordings)
        raise UsageError(f"{names}: no line such as `[12:34] <ada> hello`: is it the log of a channel?")
    nodes = [node for node in _nodes(brokers) for _ in range(observers)]
    _allow_files(max(crowd(recording.log.entries) for recording in recordings) + len(nodes))
    verdicts: list[Verdict] = []
    with _progress() as progress:
        for recording in recordings:
            task = progress.add_task(recording.room, total=len(recording.log.entries))
            verdicts.append(_perform(recording, brokers, nodes, speed, partial(progress.advance, task)))
    try:
        _show(verdicts, as_json)
    finally:
        # The exit status tells the verdict also if nobody reads the tables.
        if (found := faults(verdicts)) is not None:
            raise ParlourError(f"the delivery was not perfect: {found}")


def _show(verdicts: Sequence[Verdict], as_json: bool) -> None:
    if as_json:
        print_json(summary(verdicts))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    for verdict in verdicts:
        console.print(_table(verdict))
