"""The commands `chat`, `send` and `tail` as processes, as scripts and people use them."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path

import click
import pytest

from parlour.cli import main
from parlour.client import Message, ParlourError, Room, connect
from parlour.client.sender import Input, Sender
from parlour.node import NodeSettings
from parlour.runtime.threads import join_all, spawn
from support.cluster import Cluster
from support.cluster import cluster as cluster_of
from support.waiting import eventually

SECONDS = 20


@contextmanager
def running(cluster: Cluster, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `parlour` with these arguments while the block runs."""
    command = [sys.executable, "-m", "parlour.cli", *arguments]
    environment = os.environ | {"PARLOUR_BROKER": cluster.address}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def run(cluster: Cluster, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Run `parlour` to its end; return its exit status, output and errors."""
    with running(cluster, *arguments) as process:
        out, err = process.communicate(stdin, SECONDS)
        return process.returncode, out, err.decode()


def messages(room: Room) -> Iterator[Message]:
    """Yield the messages of a room as they come."""
    return (event for event in room.events(SECONDS) if isinstance(event, Message))


def logged(cluster: Cluster, room: str = "lobby") -> list[str]:
    """Return the texts in the room's log."""
    chat = cluster.closing.enter_context(connect(cluster.address, "reader", observer=True))
    reader = chat.join(room, history=100_000)
    events = reader.events(5)
    return [next(events).text for _ in range(reader.replays)]  # type: ignore[union-attr]


def test_send_posts_each_argument(cluster: Cluster) -> None:
    """Each argument is a message, byte for byte, and the status is 0 when all are logged."""
    texts = ["hello", "two words", "über 雪\n\ttabbed", "--not-an-option"]
    assert run(cluster, "send", "--name", "bot", "--room", "lobby", "--", *texts) == (0, b"", "")
    assert logged(cluster) == texts


def test_send_posts_each_line(cluster: Cluster) -> None:
    """Each line without its newline is a message, in order, also a last line without a newline."""
    texts = [f"line {number}" for number in range(700)] + ["", "  spaces  ", "car\rriage", "\x1b[31m雪", "last"]
    status = run(cluster, "send", "--name", "bot", "--room", "lobby", stdin="\n".join(texts).encode())
    assert status == (0, b"", "")
    assert logged(cluster) == texts


def test_send_drops_carriage_returns(cluster: Cluster) -> None:
    """Programs of Windows and serial lines end lines with them, also the last one."""
    assert run(cluster, "send", "--name", "bot", "--room", "lobby", stdin=b"one\r\n\r\ntwo\r") == (0, b"", "")
    assert logged(cluster) == ["one", "", "two"]


def test_send_mends_wrong_lines(cluster: Cluster) -> None:
    """A line that is not UTF-8 or too long is changed and posted, with a remark; the others are posted as they are."""
    lines = [b"one", b"caf\xe9", b"x" * 16384 + b"\r", "é".encode() * 10000, b"\xff" * 16384, b"six"]
    status, _, err = run(cluster, "send", "--name", "bot", "--room", "lobby", stdin=b"\n".join(lines))
    assert status == 1
    assert err.splitlines() == [
        "parlour: line 2 is not UTF-8: wrong bytes are sent as \ufffd",
        "parlour: line 4 has more than 16384 bytes: it is sent as several messages",
        "parlour: line 5 is not UTF-8: wrong bytes are sent as \ufffd",
        "parlour: line 5 has more than 16384 bytes: it is sent as several messages",
        "parlour: 3 of 6 lines were sent, but changed: see the lines above",
    ]
    said = logged(cluster)
    assert said[:4] == ["one", "caf\ufffd", "x" * 16384, "é" * 8192]
    assert "".join(said[3:5]) == "é" * 10000
    assert ("".join(said[5:-1]), said[-1]) == ("\ufffd" * 16384, "six")


def test_send_takes_a_line_without_an_end(cluster: Cluster) -> None:
    """It is posted part by part as it comes, and not kept until it ends."""
    listener = cluster.chat("reader").join("lobby")
    with running(cluster, "send", "--name", "bot", "--room", "lobby") as send:
        assert send.stdin is not None
        send.stdin.write("é".encode() * 20000)
        send.stdin.flush()
        heard = [event.text for _, event in zip(range(2), messages(listener), strict=False)]
        assert heard == ["é" * 8192] * 2
        send.communicate(timeout=SECONDS)
    assert "".join(logged(cluster)) == "é" * 20000


def test_send_checks_all_arguments_first(cluster: Cluster) -> None:
    """Unlike the lines of a stream, all of them are known at the start."""
    status, _, err = run(cluster, "send", "--name", "bot", "--room", "lobby", "one", "x" * 16385)
    assert (status, err.count("\n")) == (2, 1)
    assert "16384" in err
    assert logged(cluster) == []


def test_send_reports_waiting_and_lost_lines(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the nodes stop, it says why a line waits and that it is lost; a later line is sent when a node is back."""
    monkeypatch.setattr("parlour.client.sender._ACKNOWLEDGED", 4.0)
    told: list[str] = []
    # To read what was captured again and again, while another thread writes, would lose lines.
    monkeypatch.setattr("parlour.client.sender.print_error", told.append)

    def tells(what: str) -> bool:
        return any(line.startswith(what) for line in told)

    bot = cluster.chat("bot")
    room, listener = bot.join("lobby"), cluster.chat("reader").join("lobby")
    receiver, sender = os.pipe()
    outcome: Future[None] = Future()

    def run() -> None:
        try:
            Sender(room, Input(receiver)).run()
            outcome.set_result(None)
        except ParlourError as error:
            outcome.set_exception(error)

    with os.fdopen(receiver), os.fdopen(sender, "wb", buffering=0) as pipe:
        thread = spawn("sends", run)
        pipe.write(b"one\n")
        # What the sender itself has not heard back would wait, too.
        assert next(messages(listener)).text == next(messages(room)).text == "one"
        for node in cluster.nodes:
            node.stop()
        # A line that is sent to a node that stops may have been logged, which is told in other words.
        eventually(lambda: not bot.connected)
        pipe.write(b"two\n")
        eventually(lambda: tells("line 2 is not sent yet: "))
        eventually(lambda: tells("line 2 may not have been sent: "))
        cluster.add_node("n3")
        pipe.write(b"three\n")
        pipe.close()
        assert str(outcome.exception(SECONDS)) == "1 of 3 lines was not sent: see the lines above"
        join_all([thread], SECONDS)
    assert logged(cluster)[-1] == "three"


def test_send_without_a_broker_fails_in_one_line(empty_cluster: Cluster) -> None:
    """The line says how to start a broker, and the status is 1."""
    empty_cluster.broker.stop()
    status, _, err = run(empty_cluster, "send", "--name", "bot", "--room", "lobby", "hi")
    assert status == 1
    assert err.startswith("parlour: ")
    assert err.count("\n") == 1


def test_send_without_a_broker_reads_its_input(empty_cluster: Cluster) -> None:
    """A build that is piped to an absent cluster is not ended by SIGPIPE; the error comes at once and at the end."""
    empty_cluster.broker.stop()
    with running(empty_cluster, "send", "--name", "bot", "--room", "lobby") as send:
        assert send.stderr is not None
        told = send.stderr.readline().decode()
        assert told.endswith("; the rest of standard input is dropped\n")
        _, err = send.communicate(b"x" * 200_000, SECONDS)
        assert (send.returncode, err.decode()) == (1, told.partition(";")[0] + "\n")


def test_tail_prints_old_and_new_messages(cluster: Cluster) -> None:
    """With --json each line is an object with the promised fields; --count ends it with status 0."""
    room = cluster.chat("ada").join("lobby")
    said = [room.say("old 1"), room.say("old 2"), room.say("old 雪\n3")]
    with running(cluster, "tail", "--room", "lobby", "--history", "2", "--count", "3", "--json") as tail:
        assert tail.stdout is not None
        lines = [json.loads(tail.stdout.readline()) for _ in range(2)]
        said.append(room.say("new"))
        out, err = tail.communicate(timeout=SECONDS)
        lines += [json.loads(line) for line in out.splitlines()]
        assert (tail.returncode, err) == (0, b"")
    assert lines == [
        {"room": "lobby", "offset": m.offset, "id": m.id, "by": "ada", "at": m.at, "text": m.text, "replay": old}
        for m, old in zip(said[1:], (True, True, False), strict=True)
    ]


def test_tail_for_people_shows_nothing_harmful(cluster: Cluster) -> None:
    """A line has a time, a name and the text, with visible control characters, and no colour in a pipe."""
    cluster.chat("ada").join("lobby").say("red \x1b[31m\nalert")
    status, out, _ = run(cluster, "tail", "--room", "lobby", "--history", "5", "--count", "1")
    assert status == 0
    assert out.decode().endswith(" ada: red ␛[31m⏎alert\n")
    assert b"\x1b" not in out


def test_tail_prints_changes(cluster: Cluster) -> None:
    """With --json each record comes as it is logged, else as a line for people; a deleted text never comes."""
    room = cluster.chat("ada").join("lobby")
    hello, secret = room.say("hello", data={"a": 1}), room.say("secret")
    room.edit(room.say("waves", kind="action", ref=1), "bows")
    room.react(hello, "+1")
    room.redact(secret)
    status, out, _ = run(cluster, "tail", "--room", "lobby", "--history", "6", "--count", "6", "--json")
    assert status == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert [{name: record.get(name) for name in ("text", "kind", "ref", "data", "account")} for record in records] == [
        {"text": "hello", "kind": None, "ref": None, "data": {"a": 1}, "account": None},
        {"text": "(deleted)", "kind": "gone", "ref": None, "data": None, "account": None},
        {"text": "waves", "kind": "action", "ref": 1, "data": None, "account": None},
        {"text": "bows", "kind": "edit", "ref": 3, "data": None, "account": None},
        {"text": "+1", "kind": "react", "ref": 1, "data": None, "account": None},
        {"text": "(deleted a message)", "kind": "redact", "ref": 2, "data": None, "account": None},
    ]
    status, out, _ = run(cluster, "tail", "--room", "lobby", "--history", "6", "--count", "4")
    lines = [re.sub(r"\d\d:\d\d", "12:00", line) for line in out.decode().splitlines()]
    assert (status, lines) == (
        0,
        [
            "12:00 ada: hello",
            '12:00 * ada (to ada: "hello") waves',
            "-- ada edited #3 (12:00): bows",
            '-- ada: +1 to ada\'s "hello"',
        ],
    )


def test_tail_ends_quietly_with_its_reader(cluster: Cluster) -> None:
    """As in `tail | head -1`: no error, no traceback."""
    room = cluster.chat("ada").join("lobby")
    room.say("first")
    with running(cluster, "tail", "--room", "lobby", "--history", "1") as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        assert b"first" in tail.stdout.readline()
        tail.stdout.close()
        room.say("second")
        assert tail.wait(SECONDS) == 0
        assert tail.stderr.read() == b""


def test_tail_ends_quietly_on_ctrl_c(cluster: Cluster) -> None:
    """An interrupt is the way to end a tail: no error, no traceback."""
    cluster.chat("ada").join("lobby").say("first")
    with running(cluster, "tail", "--room", "lobby", "--history", "1") as tail:
        assert tail.stdout is not None
        tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        assert tail.wait(SECONDS) == 0
        assert tail.communicate()[1] == b""


def test_tail_goes_on_at_another_node(cluster: Cluster) -> None:
    """When its node stops, all messages still come, once and in order."""
    room = cluster.chat("ada").join("lobby")
    room.say("0")
    with running(cluster, "tail", "--name", "cat", "--room", "lobby", "--history", "1", "--json") as tail:
        assert tail.stdout is not None
        heard = [json.loads(tail.stdout.readline())["offset"]]
        cluster.node_where("cat").stop()
        for number in range(1, 20):
            room.say(str(number))
        heard += [json.loads(tail.stdout.readline())["offset"] for _ in range(19)]
        assert heard == list(range(1, 21))


def test_chat_reads_a_pipe_plainly(cluster: Cluster) -> None:
    """Without a terminal, lines are read and shown plainly; at the end of the input it sends all, and leaves."""
    ada = cluster.chat("ada").join("lobby")
    ada.say("before you came")
    typed = "hello\r\n\r\n/me waves\r\n//slash\n/who\n/dance\n/join den\nin here\n/leave\nback\n/quit\nnever said\n"
    status, out, err = run(cluster, "chat", "--name", "bob", "--room", "lobby", stdin=typed.encode())
    assert (status, err) == (0, "")
    lines = out.decode().splitlines()
    assert lines[0].startswith("-- connected to n")
    for end in (
        " ada: before you came",
        " bob: hello",
        " * bob waves",
        " bob: /slash",
        "-- 2 in lobby: ada, bob",
        " bob: in here",
        "-- you left den",
        " bob: back",
    ):
        assert any(line.endswith(end) for line in lines), end
    assert any("/dance" in line and "/help" in line for line in lines)
    assert logged(cluster) == ["before you came", "hello", "waves", "/slash", "back"]
    assert logged(cluster, "den") == ["in here"]


@pytest.mark.parametrize("command", ["chat", "tail", "monitor"])
def test_a_dumb_terminal_gets_lines(cluster: Cluster, command: str) -> None:
    """It gets no colours and no cursor movements, and the person types in the terminal's own line."""
    cluster.chat("bob").join("lobby").say("hello, ada")
    arguments = {"chat": ["--room", "lobby"], "tail": ["--room", "lobby", "--history", "1"], "monitor": []}[command]
    master, slave = os.openpty()
    environment = os.environ | {"TERM": "dumb", "PARLOUR_BROKER": cluster.address}
    whole = [sys.executable, "-m", "parlour.cli", command, *arguments]
    with (
        os.fdopen(master, "r+b", buffering=0) as terminal,
        subprocess.Popen(whole, env=environment, stdin=slave, stdout=slave, stderr=slave) as process,
    ):
        try:
            os.close(slave)
            shown = b""
            if command == "chat":
                terminal.write(b"ada\n")  # the answer to the question for a name
            expected = b"bob: hello, ada" if command != "monitor" else b"imbalance"
            while expected not in shown:
                assert select.select([terminal], [], [], SECONDS)[0], shown
                shown += terminal.read(4096)
            if command == "chat":
                terminal.write(b"hello, bob\n")
                while b"ada: hello, bob" not in shown:
                    shown += terminal.read(4096)
            assert b"\x1b" not in shown
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(SECONDS)


def test_chat_shows_characters_that_the_encoding_lacks(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a character is shown as its number, and the next ones are shown, too."""
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    ada = cluster.chat("ada").join("lobby")
    for text in ("über", "雪", "snow"):
        ada.say(text)
    status, out, err = run(cluster, "chat", "--name", "bob", "--room", "lobby", stdin="grüße\n".encode())
    assert (status, err) == (0, "")
    lines = out.decode("latin-1").splitlines()
    for said in ("ada: über", "ada: \\u96ea", "ada: snow", "bob: grüße"):
        assert any(line.endswith(said) for line in lines), said


def test_send_goes_on_at_another_node(cluster: Cluster) -> None:
    """A node stops while lines are sent: each is logged once, in order, and the status is 0."""
    listener = cluster.chat("reader").join("lobby")
    with running(cluster, "send", "--name", "bot", "--room", "lobby") as send:
        assert send.stdin is not None
        send.stdin.write(b"".join(b"%d\n" % number for number in range(100)))
        send.stdin.flush()
        events = listener.events(10)
        assert any(isinstance(event, Message) and event.text == "99" for event in events)
        cluster.node_where("bot").stop()
        out, err = send.communicate(b"".join(b"%d\n" % number for number in range(100, 200)), SECONDS)
        assert (send.returncode, out, err) == (0, b"", b"")
    assert logged(cluster) == [str(number) for number in range(200)]


def test_a_line_is_shown_before_the_room_is_left(tmp_path: Path) -> None:
    """Also when the post has to wait because another message is being logged."""
    path = tmp_path / "log.sqlite"
    with cluster_of(1, NodeSettings(log=f"sqlite://{path}")) as one:
        ada = one.chat("ada").join("den")
        ada.say("before you came")
        arguments = ("chat", "--name", "bob", "--room", "den")
        with running(one, *arguments) as process, closing(sqlite3.connect(path, isolation_level=None)) as holder:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"hello\n")
            process.stdin.flush()
            shown = b""
            while b"bob: hello" not in shown:
                shown += os.read(process.stdout.fileno(), 4096)
            holder.execute("BEGIN IMMEDIATE")
            post = ada.post("held up")
            log = one.nodes[0].log.engine
            eventually(lambda: log._writing.locked(), what="ada's post is being logged")  # type: ignore[attr-defined]
            process.stdin.write(b"in here\n/leave\n/quit\n")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 0.3)[0] == []
            holder.execute("ROLLBACK")
            out, err = process.communicate(timeout=SECONDS)
            assert (process.returncode, err) == (0, b"")
            assert post.result(SECONDS).text == "held up"
            lines = sorted(line.split(b" ", 1)[1] for line in out.splitlines())
            assert lines == [b"ada: held up", b"bob: in here", b"you left den"]


@pytest.mark.parametrize(
    ("typed", "status", "unsaid"),
    [
        (b"/who\n/quit\n", 0, []),
        (b"/who\nstill here?\n/leave\n/me wonders\n/quit\n", 1, ["still here?", "/me wonders"]),
        (b"/who\nstill here?", 1, ["still here?"]),
    ],
    ids=["nothing said", "/quit", "end of input"],
)
def test_chat_can_be_left_without_a_connection(cluster: Cluster, typed: bytes, status: int, unsaid: list[str]) -> None:
    """When all nodes stop, one line says so; a person who leaves then sees which lines may not have been sent."""
    with running(cluster, "chat", "--name", "bob", "--room", "lobby") as chat:
        room = cluster.chat("ada").join("lobby")
        eventually(lambda: room.members == ["ada", "bob"])
        for node in cluster.nodes:
            node.stop()
        assert chat.stdout is not None
        seen: list[bytes] = []
        while (line := chat.stdout.readline()) != b"-- connection lost, coming back\n":
            seen.append(line)
            assert line, f"it ended: {seen}, {chat.communicate()}"
        out, err = chat.communicate(typed, 10)
        assert chat.returncode == status
        lines = out.decode().splitlines()
        told = "-- may not have been sent: "
        assert [line.removeprefix(told) for line in lines if line.startswith(told)] == unsaid
        assert err.decode() == (
            f"parlour: {len(unsaid)} of your lines, shown above, may not have been sent: send them again\n"
            if unsaid
            else ""
        )
        refused = "-- there is no connection now: try again when it is back"
        assert lines.count(refused) == typed.count(b"/who") + typed.count(b"/leave")


@pytest.mark.parametrize(
    ("redirection", "arguments", "texts"),
    [
        (">&-", ["send", "--name", "bot", "more"], ["said", "more"]),
        ("<&-", ["send", "--name", "bot"], ["said"]),
        (">&-", ["tail", "--history", "1", "--count", "1"], ["said"]),
        ("<&-", ["chat", "--name", "bob"], ["said"]),
        ("<&- >&-", ["chat", "--name", "bob"], ["said"]),
    ],
)
def test_a_closed_stream_is_empty(cluster: Cluster, redirection: str, arguments: list[str], texts: list[str]) -> None:
    """Nothing is read from it, output to it is dropped, and the command does its work."""
    cluster.chat("ada").join("lobby").say("said")
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "parlour.cli", *arguments]
    command = [*shell, "--room", "lobby", "--broker", cluster.address]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, b"")
    assert logged(cluster) == texts


@pytest.mark.parametrize("arguments", [["tail"], ["chat", "--name", "bob"]], ids=["tail", "chat"])
def test_a_full_disk_ends_a_command(cluster: Cluster, arguments: list[str]) -> None:
    """One line says so, whichever line could not be written."""
    room = cluster.chat("ada").join("lobby")
    command = [sys.executable, "-m", "parlour.cli", *arguments, "--room", "lobby", "--broker", cluster.address]
    with (
        open("/dev/full", "wb") as full,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=full, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            eventually(lambda: room.say("hello") and process.poll() is not None, SECONDS)
            assert process.returncode == 1
            assert process.stderr is not None
            assert process.stderr.read() == (
                "parlour: cannot write to standard output (No space left on device): make room, or send it elsewhere\n"
            )
        finally:
            process.kill()


@pytest.mark.parametrize("command", ["chat", "send", "tail"])
def test_help_has_an_example(empty_cluster: Cluster, command: str) -> None:
    """Each command's help shows how to use it."""
    status, out, _ = run(empty_cluster, command, "--help")
    assert status == 0
    assert f"  parlour {command}" in out.decode()


def test_end_of_input_at_a_question_ends_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the shell's prompt would stand behind the question."""

    def leave(*_: object) -> str:
        raise click.Abort

    monkeypatch.setattr("parlour.client.cli._asked", leave)
    assert main(["chat"]) == 0
    assert capsys.readouterr().out == "\n"
