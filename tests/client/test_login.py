"""How commands sign in: by a password from a file, the environment or a prompt, and by the token of this device."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from parlour.cli import main
from parlour.client import connect
from parlour.client.kept_tokens import KeptToken, KeptTokens
from parlour.client.login import Login
from parlour.directory.passwords import make_password
from parlour.node.clients import asks
from parlour.wire.errors import ParlourError
from support.cluster import Cluster
from support.tmux import MISSING, Tmux
from support.waiting import eventually

PASSWORD = " p\u00e4ss word "

Send = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a config folder of its own, and return the file of tokens in it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("PARLOUR_PASSWORD", raising=False)
    return tmp_path / "config" / "parlour" / "devices.json"


@pytest.fixture
def running(cluster: Cluster) -> Cluster:
    """Give ada an account."""
    cluster.nodes[0].people.directory.accounts.add("ada", make_password(PASSWORD))
    return cluster


@pytest.fixture
def send(running: Cluster, capsys: pytest.CaptureFixture[str]) -> Send:
    """Give a way to send a text as ada; it returns the status and the errors."""

    def command(*options: str) -> tuple[int, str]:
        where = ["--broker", running.address, "--name", "ada", "--room", "lobby"]
        status = main(["send", *where, *options, "hello"])
        return status, capsys.readouterr().err

    return command


def test_a_connection_lost_before_the_token_came(
    running: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The person is in all the same, and is told that this device is not kept."""
    handler = asks.HANDLERS["token"]

    def hang_up(session: Any, data: Any) -> dict[str, Any]:
        session.writer.hang_up()
        return handler.answer(session, data)

    monkeypatch.setitem(asks.HANDLERS, "token", handler._replace(answer=hang_up))
    monkeypatch.setattr(click, "prompt", lambda *_, **__: PASSWORD)
    with Login((running.address,), None, asking=True).connect("ada", chosen=True) as ada:
        assert ada.join("lobby").say("hello").account == "ada"
    assert "this device is not kept signed in" in capsys.readouterr().err


def senders(running: Cluster) -> list[str]:
    """Return the accounts of the texts in the room."""
    return [record.account for record in running.nodes[0].log.read("lobby", 0, 100) if not record.kind]


# --- a password from a file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [PASSWORD, f"{PASSWORD}\n", f"{PASSWORD}\r\n", f"{PASSWORD}\nmore\n"])
def test_password_file(running: Cluster, send: Send, tmp_path: Path, content: str) -> None:
    """The first line counts, without the end of the line; spaces are a part of the password."""
    file = tmp_path / "password"
    file.write_bytes(content.encode())
    assert send("--password-file", str(file)) == (0, "")
    assert senders(running) == ["ada"]


def test_password_from_elsewhere(running: Cluster, send: Send, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Standard input and the environment serve, too; a file goes before the environment, and nothing is kept."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{PASSWORD}\n".encode()), "utf-8"))
    assert send("--password-file", "-") == (0, "")
    monkeypatch.setenv("PARLOUR_PASSWORD", PASSWORD)
    assert send() == (0, "")
    (tmp_path / "wrong").write_text("a guess")
    status, error = send("--password-file", str(tmp_path / "wrong"))
    assert (status, error.count("\n")) == (1, 1)
    assert senders(running) == ["ada", "ada"]
    assert not (tmp_path / "config").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "cannot read the password in FILE (No such file or directory): give a file whose first line it is"),
        (b"", "the first line of FILE is empty: write the password there"),
        (b"\n" + PASSWORD.encode(), "the first line of FILE is empty: write the password there"),
        (b"caf\xe9\n", "cannot read the password in FILE (it is not text): give a file whose first line it is"),
    ],
)
def test_password_file_that_is_none(
    running: Cluster, send: Send, tmp_path: Path, content: bytes | None, error: str
) -> None:
    """One line says what is wrong with the file, and nobody comes in as a guest instead."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    assert send("--password-file", str(file)) == (2, f"parlour: {error.replace('FILE', str(file))}\n")
    assert senders(running) == []


# --- the token of this device -------------------------------------------------------------------------------------


def test_kept_tokens_are_private(devices: Path) -> None:
    """Nobody else can read them, also if a file was left there that all can read; damage is told."""
    devices.parent.mkdir(parents=True)
    left = devices.with_name("devices.json.new")
    left.touch(mode=0o644)
    kept = KeptTokens()
    for name, token in (("ada", KeptToken("secret", "d1")), ("bob", KeptToken("other", "d2"))):
        kept.put("127.0.0.1:6000", name, token)
        assert devices.stat().st_mode & 0o777 == 0o600
    kept.remove("127.0.0.1:6000", "ada")
    assert KeptTokens().get("127.0.0.1:6000", "ada") is None
    assert KeptTokens().get("127.0.0.1:6000", "bob") == KeptToken("other", "d2")
    assert KeptTokens().get("127.0.0.1:7000", "bob") is None
    assert not left.exists()
    devices.write_text("{")
    with pytest.raises(ParlourError, match="is damaged: remove it, and sign in with your password again"):
        kept.get("127.0.0.1:6000", "bob")


def test_revoked_token_of_a_script(running: Cluster, send: Send, devices: Path) -> None:
    """It signs in without a password; once revoked, the command says so in a line, and comes in under no other name."""
    with connect(running.address, "ada", password=PASSWORD) as ada:
        told = ada.ask("token", {"label": "script"})
        KeptTokens().put(running.address, "ada", KeptToken(told["token"], told["id"]))
        assert send() == (0, "")
        ada.revoke(told["id"])
    assert send() == (1, "parlour: this device was signed out of ada: sign in with the password\n")
    assert msgspec.json.decode(devices.read_bytes()) == {}
    assert senders(running) == ["ada"]


def test_logout(running: Cluster, devices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The token of this device is void and forgotten, and no other one; a second time there is nothing to do."""
    with connect(running.address, "ada", password=PASSWORD) as ada:
        told = ada.ask("token", {"label": "this one"})
        other = ada.new_token("another one")
        KeptTokens().put(running.address, "ada", KeptToken(told["token"], told["id"]))
        assert main(["logout", "--broker", running.address, "--name", "ada"]) == 0
        assert capsys.readouterr().out == "this device is signed out of ada\n"
        assert [device.label for device in ada.devices()] == ["another one"]
    assert told["token"] not in devices.read_text()
    assert main(["logout", "--broker", running.address, "--name", "ada"]) == 2
    assert capsys.readouterr().err == "parlour: this device is not signed in as ada: nothing is to be done\n"
    with connect(running.address, "ada", token=other) as ada:
        assert ada.account == "ada"


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_password_prompt(running: Cluster, tmux: Tmux, devices: Path) -> None:
    """`parlour chat` asks once, keeps a token that is private, and asks again with one line when that was revoked."""
    directory = running.nodes[0].people.directory
    command = [sys.executable, "-m", "parlour.cli", "chat", "--broker", running.address, "--name", "ada"]
    command += ["--room", "lobby"]
    pane = tmux.open(*command)
    tmux.shows(pane, "Password of ada, or Enter to be ada2:")
    tmux.type(pane, "a guess", "Enter")
    eventually(lambda: sum(line.startswith("Password of ada,") for line in tmux.lines(pane)) == 2)
    tmux.type(pane, PASSWORD, "Enter")
    tmux.shows(pane, "lobby>")
    assert not any("guess" in line or PASSWORD.strip() in line for line in tmux.lines(pane))
    assert devices.stat().st_mode & 0o777 == 0o600
    assert devices.parent.stat().st_mode & 0o077 == 0
    assert PASSWORD.strip() not in devices.read_text()
    tmux.press(pane, "C-d")
    tmux.shows(pane, "exit=0")

    again = tmux.open(*command)
    tmux.shows(again, "lobby>")
    assert not any("Password" in line for line in tmux.lines(again))
    tmux.press(again, "C-d")
    tmux.shows(again, "exit=0")

    (device,) = directory.tokens.list("ada")
    directory.tokens.revoke("ada", device.id)
    asked = tmux.open(*command)
    tmux.shows(asked, "Password of ada:")
    assert tmux.lines(asked) == [
        "parlour: this device was signed out of ada: sign in with the password",
        "Password of ada:",
    ]
    tmux.type(asked, PASSWORD, "Enter")
    tmux.shows(asked, "lobby>")
    assert len(directory.tokens.list("ada")) == 1


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_prompt_without_a_password(running: Cluster, tmux: Tmux, devices: Path) -> None:
    """Enter alone takes the free name, and Ctrl-C ends the command; nothing is kept."""
    command = [sys.executable, "-m", "parlour.cli", "chat", "--broker", running.address, "--name", "ada"]
    command += ["--room", "lobby"]
    pane = tmux.open(*command)
    tmux.shows(pane, "Password of ada, or Enter to be ada2:")
    tmux.press(pane, "Enter")
    tmux.shows(pane, "-- 1 in lobby: ada2")
    other = tmux.open(*command)
    eventually(lambda: any(line.startswith("Password of ada, or Enter to be") for line in tmux.lines(other)))
    tmux.press(other, "C-c")
    eventually(lambda: any(line.startswith("exit=") for line in tmux.lines(other)))
    assert not os.path.exists(devices)
