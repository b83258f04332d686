"""The log: its two styles, how it treats a peer's text, how it counts, and that no reader delays it."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from parlour.runtime.logs import (
    FILE_SIZE,
    OLD_FILES,
    Tally,
    broker_log,
    client_log,
    configured_logging,
    node_log,
    set_part_name,
)
from parlour.wire.errors import ParlourError
from support.waiting import eventually

BAD = "n1 is refused: \x1b[2Jno\nparlour: all is well\u202e"
PLAIN = "n1 is refused: \ufffd[2Jno parlour: all is well\ufffd"


def ready(descriptor: int) -> bool:
    """Whether there is something to read now."""
    return bool(select.select([descriptor], [], [], 0)[0])


def test_an_event_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An event is time, level, part and text; a peer's text adds no line and no control character."""
    with configured_logging("node"):
        set_part_name("node n1")
        node_log.warning("%s", BAD)
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z warning node n1: {re.escape(PLAIN)}\n", capsys.readouterr().err
    )


def test_an_event_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON style writes the same as one object."""
    with configured_logging("broker", "json", "warning"):
        broker_log.info("not wanted")
        broker_log.error("%s", BAD)
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert said.pop("time").endswith("Z")
    assert said == {"level": "error", "part": "broker", "logger": "parlour.broker", "text": PLAIN}


def test_the_error_that_ends_a_part_is_in_its_log(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In JSON the log alone has the error; with a log file, standard error has it as well."""
    with pytest.raises(SystemExit) as ended, configured_logging("node", "json"):
        raise ParlourError("the port is in use")
    assert ended.value.code == 1
    assert json.loads(capsys.readouterr().err)["text"] == "the port is in use"
    with pytest.raises(ParlourError), configured_logging("node", path=str(tmp_path / "n1.log")):
        raise ParlourError("the port is in use")
    assert (tmp_path / "n1.log").read_text().endswith(" critical node: the port is in use\n")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error says in one line what to do."""
    with (
        pytest.raises(ParlourError, match=r"cannot write the log to .*: name another file"),
        configured_logging("node", path=str(tmp_path)),
    ):
        pass


def test_log_files_are_few_small_and_private(tmp_path: Path) -> None:
    """Whatever the number of events, the oldest file is removed."""
    with configured_logging("node", path=str(tmp_path / "n1.log")):
        for _ in range((OLD_FILES + 2) * FILE_SIZE // 1900):
            node_log.warning("x" * 2000)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["n1.log", *(f"n1.log.{number + 1}" for number in range(OLD_FILES))]
    assert all(file.stat().st_size <= FILE_SIZE for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_full_pipe_blocks_nobody() -> None:
    """A pipe without a reader takes what it can; when read again, the next line tells how many events were lost."""
    code = """
import sys
from parlour.runtime.logs import configured_logging, node_log
with configured_logging("node"):
    for _ in range(200):
        node_log.warning("x" * 2000)
    print("done", flush=True)
    sys.stdin.readline()
    node_log.warning("the last")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "done\n"
        said = b""

        def emptied() -> bool:
            nonlocal said
            data = os.read(process.stderr.fileno(), 1 << 16) if ready(process.stderr.fileno()) else b""  # type: ignore[union-attr]
            said += data
            return not data

        eventually(emptied)
        _, rest = process.communicate("\n", timeout=20)
    assert process.returncode == 0
    lines = (said.decode() + rest).splitlines()
    assert lines[-1].endswith("the last")
    lost = re.search(r"(\d+) events before this one are lost", lines[-2])
    assert lost
    assert int(lost[1]) == 202 - len(lines)


def test_counted_events_are_logged_seldom(caplog: pytest.LogCaptureFixture) -> None:
    """The first event is logged at once, later ones when it is time, with a count by reason; the totals only grow."""
    tally = Tally(node_log, "connections refused", every=0.05)
    tally.add("full")
    tally.tell()
    for _ in range(1000):
        tally.add("full")
        tally.add("bad_ticket")
        tally.tell()
    eventually(lambda: tally.tell() or sum(map(int, re.findall(r"full (\d+)", caplog.text))) == 1001)  # type: ignore[func-returns-value]
    assert caplog.messages[0] == "connections refused: 1 (full 1)"
    assert tally.totals == {"full": 1001, "bad_ticket": 1000}


def test_the_library_is_silent_unless_asked() -> None:
    """Python prints warnings of a logger without a handler, so the library has one."""
    code = "from parlour.client import connect; import logging; logging.getLogger('parlour.client').warning('lost')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == ""
    assert client_log is logging.getLogger("parlour.client")
