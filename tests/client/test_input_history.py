"""The lines typed in earlier chats: kept in a file with a bound, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from parlour.client.inputhistory import InputHistory


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which the lines are kept for this test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "parlour" / "typed"


def test_the_newest_lines_are_kept(file: Path) -> None:
    """At most a thousand lines and 256 KiB; a text of several lines, and any letter, comes back unchanged."""
    typed = InputHistory()
    for number in range(1500):
        typed.store_string(f"line {number}")
    typed.store_string("one\ntwo \ud800 雪")
    file.write_bytes(file.read_bytes() + b'"half a li')
    again = list(InputHistory().load_history_strings())
    assert (len(again), again[0], again[1], again[-1]) == (1000, "one\ntwo \ud800 雪", "line 1499", "line 501")
    for _ in range(40):
        typed.store_string("x" * 16000)
    assert len(list(InputHistory().load_history_strings())) == 16
    assert file.stat().st_size <= 256 * 1024
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert list(file.parent.iterdir()) == [file]


def test_the_file_is_closed_to_others(file: Path) -> None:
    """A file that was copied back carelessly may be readable for them."""
    InputHistory()
    file.chmod(0o644)
    InputHistory()
    assert file.stat().st_mode & 0o777 == 0o600


def test_without_a_usable_folder_nothing_is_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no home, or a file in place of the folder: one line says why, and typing goes on."""
    file.parent.parent.mkdir()
    file.parent.write_text("not a folder")
    impossible = InputHistory()
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as in a container whose user is only a number
    homeless = InputHistory()
    for typed, told in ((impossible, "File exists"), (homeless, "set HOME")):
        assert told in str(typed.trouble)
        typed.store_string("hello")
        assert list(typed.load_history_strings()) == []
