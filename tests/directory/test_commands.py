"""The commands with which operators see to people: what they change, what they print, and what they refuse."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from parlour.cli import main
from parlour.directory.directory import Directory
from parlour.directory.opening import open_store
from parlour.directory.passwords import matches
from parlour.wire.people import Person
from support.processes import run
from support.redis_server import MISSING as NO_REDIS
from support.redis_server import redis_server
from support.tmux import MISSING, Tmux, tmux
from support.waiting import eventually

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Name the log of the test."""
    return f"sqlite://{tmp_path}/rooms.sqlite"


@pytest.fixture
def directory(url: str) -> Iterator[Directory]:
    """Open the directory, as a node does that runs meanwhile."""
    with closing(open_store(url)) as store:
        yield Directory(store)


@pytest.fixture
def parlour(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Give a way to run a command on the directory, perhaps with a standard input; it returns status and output."""

    def command(*arguments: str, given: str | bytes = "") -> tuple[int, str, str]:
        data = given.encode() if isinstance(given, str) else given
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        capsys.readouterr()
        status = main([*arguments, "--log", url])
        printed, errors = capsys.readouterr()
        return status, printed, errors

    return command


def has_prompts(terminal: Tmux, pane: int, count: int) -> bool:
    """Whether the terminal shows so many prompts for a password."""
    return count == sum(line.endswith(("password for ada:", "same again:")) for line in terminal.lines(pane))


def lines(output: str) -> list[dict[str, Any]]:
    """Return the JSON objects of an output."""
    return [json.loads(line) for line in output.splitlines()]


def test_the_life_of_an_account(parlour: Command, directory: Directory, url: str) -> None:
    """It is made, shown, changed, given another password, disabled, enabled, removed; the trail tells all."""
    assert parlour("account", "add", "Ada", "--operator", "--password-stdin", given="secret\n") == (
        0,
        f"made the operator Ada beside the log {url}\n",
        "",
    )
    assert matches(directory.accounts.password("ada"), "secret")
    directory.tokens.make("ada", "laptop")
    shown = parlour("account", "show", "ada")[1]
    assert "operator        yes" in shown
    assert "laptop" in shown
    (device,) = lines(parlour("account", "show", "ada", "--json")[1])[0]["devices"]
    assert device["label"] == "laptop"
    assert parlour("account", "passwd", "ada", "--password-stdin", given=" pässword \r\n")[0] == 0
    assert matches(directory.accounts.password("ada"), " pässword ")
    assert parlour("account", "disable", "ada")[1] == "disabled the account Ada\n"
    assert parlour("account", "set", "ada", "--rate", "200", "--no-operator")[0] == 0
    (listed,) = lines(parlour("account", "list", "--json")[1])
    known = directory.accounts.get("ada")
    assert known is not None
    made = known.made
    assert listed == {
        "name": "Ada",
        "display": "",
        "operator": False,
        "disabled": True,
        "made": made,
        "rate": 200.0,
    }
    assert parlour("account", "list")[1].split("  ")[-1] == "disabled, 200 posts/s\n"
    assert parlour("account", "enable", "ada")[0] == 0
    assert parlour("account", "remove", "ada")[1] == "removed the account Ada\n"
    assert parlour("account", "list")[1] == ""
    assert re.fullmatch(r"name +Ada\nremoved +[-0-9]+ [:0-9]+\n", parlour("account", "show", "ada")[1])
    (left,) = lines(parlour("account", "show", "ada", "--json")[1])
    assert left == {"name": "Ada", "removed": pytest.approx(directory.store.now(), abs=600_000)}
    trail = lines(parlour("audit", "--json")[1])
    assert [entry["what"] for entry in trail] == [
        "account added",
        "password set",
        "account disabled",
        "account changed",
        "account enabled",
        "account removed",
    ]
    assert {entry["data"]["account"] for entry in trail} == {"Ada"}
    assert "secret" not in json.dumps(trail)
    assert parlour("audit")[1].count("account=Ada") == 6


@pytest.mark.parametrize(
    ("arguments", "given", "status", "error"),
    [
        (["account", "add", "\u0410DA", "--password-stdin"], "x", 1, "the name \u0410DA is taken: \u0410DA2 is free"),
        (["account", "add", "a b"], "", 2, "Invalid value for 'NAME'"),
        (["account", "add", "bob"], "", 2, "run this in one, or give --password-stdin"),
        (["account", "add", "bob", "--password-stdin"], "", 2, "a password has 1 to 1024 bytes"),
        (["account", "add", "bob", "--password-stdin"], "x" * 5000, 2, "a password has 1 to 1024 bytes"),
        (["account", "add", "bob", "--password-stdin"], "a\nb", 2, "control characters"),
        (["account", "add", "bob", "--password-stdin"], b"\xff\xfe", 2, "is not UTF-8"),
        (["account", "remove", "zed"], "", 2, "there is no account zed beside the log "),
        (["account", "remove", "ad\u0430"], "", 2, "there is no account ad\u0430, but one that looks like it: ada"),
        (["account", "set", "ada"], "", 2, "give what to change"),
        (["account", "set", "ada", "--rate", "nan"], "", 2, "not a finite number"),
        (["account", "ad", "ada"], "", 2, "No such command"),
        (["ban", "10.0.0.300"], "", 2, "10.0.0.300 is no address"),
        (["ban", "bob [x]"], "", 2, "give a name, a pattern"),
        (["ban", "bob", "--for", "2w"], "", 2, "no time such as"),
        (["unban", "bob"], "", 2, "bob is not banned from the cluster"),
        (["invite", "--uses", "0"], "", 2, "is not in the range"),
        (["invite", "--room", ""], "", 2, "a room name"),
    ],
)
def test_refusals_are_one_line(
    parlour: Command, arguments: list[str], given: str | bytes, status: int, error: str
) -> None:
    """Each refusal says in one line what to do, and changes nothing."""
    parlour("account", "add", "ada", "--password-stdin", given="secret")
    said = parlour(*arguments, given=given)
    assert (said[0], said[1]) == (status, "")
    assert error in said[2]
    assert said[2].count("\n") == 1
    assert [entry["what"] for entry in lines(parlour("audit", "--json")[1])] == ["account added"]


def test_the_name_of_a_removed_account(parlour: Command) -> None:
    """Nobody can have it or a look-alike, and each command says in one line why, and what to do."""
    parlour("account", "add", "ada", "--password-stdin", given="secret")
    parlour("account", "remove", "ada")
    for name in ("ada", "ad\u0430"):
        added = parlour("account", "add", name, "--password-stdin", given="")
        why = f"parlour: the name {name} stays reserved, as the account ada was removed: {name}2 is free\n"
        assert added == (1, "", why)
    for act in ("passwd", "disable", "enable", "remove"):
        status, printed, error = parlour("account", act, "ada")
        assert (status, printed) == (2, "")
        assert re.fullmatch(r".*the account ada was removed on [-0-9]+ [:0-9]+: that cannot be undone\n", error)
    assert len(lines(parlour("audit", "--json")[1])) == 2


def test_a_name_in_use_is_taken(parlour: Command, directory: Directory) -> None:
    """An account does not get the name of a guest who is there, nor is a password read for it."""
    directory.names.renew("n1")
    directory.names.take("ada", "session", "n1")
    status, _, error = parlour("account", "add", "Ada", "--password-stdin", given="x")
    assert (status, error) == (1, "parlour: the name Ada is taken: Ada2 is free\n")


def test_a_code_is_good_as_often_as_it_says(parlour: Command, directory: Directory) -> None:
    """`invite` prints the code alone on standard output, and what it is good for beside it."""
    status, code, note = parlour("invite", "--room", "lobby", "--uses", "2", "--expires", "1h")
    assert status == 0
    assert "to lobby, good 2 times until " in note
    used = [directory.invitations.use(code.strip()) for _ in range(3)]
    assert [invitation is not None for invitation in used] == [True, True, False]
    assert used[0] is not None
    assert used[0].room == "lobby"
    assert code.strip() not in parlour("audit")[1]


def test_bans_are_listed_and_lifted(parlour: Command, directory: Directory) -> None:
    """A ban holds for those whom it names, is listed with its end, and is lifted under any form of its address."""
    assert parlour("ban", "mallory", "--for", "2h")[0] == 0
    assert parlour("ban", "2001:db8::1/64")[1] == "banned 2001:db8::/64\n"
    assert directory.bans.of(Person("Mallory")) is not None
    assert directory.bans.of(Person("bob", address="2001:db8::7")) is not None
    first, second = lines(parlour("ban", "--json")[1])
    assert (first["who"], second["who"], second["ends"]) == ("mallory", "2001:db8::/64", 0)
    assert 0 < first["ends"] - first["made"] - 7_200_000 < 5000 or first["ends"] - first["made"] == 7_200_000
    assert len(parlour("ban")[1].splitlines()) == 2
    assert parlour("unban", "2001:DB8:0::5/64")[1] == "lifted the ban of 2001:db8::/64\n"
    assert parlour("unban", "MALLORY")[0] == 0
    assert parlour("ban")[1] == ""


def test_a_new_directory_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever mistypes the path of the log sees that its directory is new; memory is out of reach."""
    assert main(["account", "list", "--log", f"sqlite://{tmp_path}/typo.sqlite"]) == 0
    assert f"note: a new directory begins in {tmp_path}/typo.sqlite-people" in capsys.readouterr().err
    assert main(["account", "list", "--log", "memory://x"]) == 2
    assert "no command can reach it" in capsys.readouterr().err


def test_the_default_is_the_nodes_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --log the directory is that of the user's nodes, one for each broker."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x")))
    assert main(["account", "add", "ada", "--password-stdin", "--broker", "127.0.0.1:7123"]) == 0
    assert "rooms-127.0.0.1-7123.sqlite-people" in capsys.readouterr().err
    monkeypatch.setenv("PARLOUR_BROKER", "127.0.0.1:7123")
    assert main(["account", "list"]) == 0
    assert capsys.readouterr().out.startswith("ada ")


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_password_is_asked_for_twice(url: str, directory: Directory) -> None:
    """At a terminal nobody sees the password; two that differ are asked for again; Ctrl-C changes nothing."""
    with tmux() as terminal:
        pane = terminal.open(sys.executable, "-m", "parlour.cli", "account", "add", "ada", "--log", url)
        for number, typed in enumerate(["secret", "secrets", "secret", "secret"], 1):
            # What is typed before the prompt is there would be thrown away.
            eventually(partial(has_prompts, terminal, pane, number))
            terminal.type(pane, typed, "Enter")
        terminal.shows(pane, "exit=0")
        assert not any("secret" in line for line in terminal.lines(pane))
        pane = terminal.open(sys.executable, "-m", "parlour.cli", "account", "passwd", "ada", "--log", url)
        terminal.shows(pane, "password for ada:")
        terminal.press(pane, "C-c")
        terminal.shows(pane, "exit=130")
    assert matches(directory.accounts.password("ada"), "secret")


@pytest.mark.skipif(bool(NO_REDIS), reason=NO_REDIS)
def test_commands_work_on_redis(tmp_path: Path) -> None:
    """The same commands, each in a process of its own, on a directory in Redis."""
    with redis_server(tmp_path) as server:
        on = ["--log", server.url]
        assert run("account", "add", "ada", "--password-stdin", *on, given="secret").returncode == 0
        assert run("account", "list", *on).stdout.startswith("ada ")
        assert run("account", "add", "ADA", "--password-stdin", *on, given="x").returncode == 1
        assert "account added" in run("audit", *on).stdout
