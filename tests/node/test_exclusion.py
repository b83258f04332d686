"""People who are here and may not be here any more: their sessions end, on whichever node they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from parlour.directory.accounts import Accounts
from parlour.directory.passwords import make_password
from parlour.directory.store import DirectoryError
from parlour.node import Node
from parlour.node.people import exclusion
from support.cluster import cluster
from support.netcat import Netcat, netcat
from support.waiting import MS, eventually


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, so that a test need not wait long."""
    monkeypatch.setattr(exclusion, "LOOK", 20 * MS)


def enter(stack: ExitStack, node: Node, name: str, **fields: object) -> Netcat:
    """Let somebody in."""
    nc = stack.enter_context(netcat(node))
    nc.send({"type": "hello", "name": name, **fields})
    assert nc.read()["type"] == "welcome"
    return nc


def test_a_ban_ends_sessions() -> None:
    """A ban that another node or a command makes ends the sessions of those whom it hits, except operators."""
    with cluster(2) as running, ExitStack() as stack:
        directory = running.nodes[0].people.directory
        directory.accounts.add("root", make_password("secret"), operator=True)
        bobs = [enter(stack, node, f"bob{n}") for n, node in enumerate(running.nodes)]
        root = enter(stack, running.nodes[1], "root", password="secret")
        carol = enter(stack, running.nodes[1], "carol")
        directory.bans.add("bob?", "root")
        for bob in bobs:
            assert (told := bob.read())["code"] == "banned"
            assert told["fatal"]
            assert bob.read() == {}
        directory.bans.add("127.0.0.1", "root")
        assert carol.read()["code"] == "banned"
        root.send({"type": "ping", "nonce": 7})
        assert root.read()["type"] == "pong"


@pytest.mark.parametrize("how", ["disable", "remove"])
def test_an_account_that_is_gone_ends(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody whose account is disabled or removed is told so on all devices; others stay."""
    monkeypatch.setattr(exclusion, "PARTS", 1_000_000)  # so that it is not found by going through all accounts
    with cluster(2) as running, ExitStack() as stack:
        accounts = running.nodes[0].people.directory.accounts
        for name in ("ada", "eve"):
            accounts.add(name, make_password("secret"))
        devices = [enter(stack, node, "ada", password="secret") for node in running.nodes]
        eve = enter(stack, running.nodes[0], "eve", password="secret")
        act: Callable[[], object] = {
            "disable": lambda: accounts.change("ada", disabled=True),
            "remove": lambda: accounts.remove("ada"),
        }[how]
        act()
        for ada in devices:
            assert (told := ada.read())["code"] == "disabled"
            assert told["fatal"]
            assert ada.read() == {}
        eve.send({"type": "ping", "nonce": 7})
        assert eve.read()["type"] == "pong"


def test_a_closing_that_was_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also somebody whose account was closed while the node could not look is found."""
    monkeypatch.setattr(Accounts, "closings", lambda _: set())
    with cluster(1) as running, ExitStack() as stack:
        accounts = running.nodes[0].people.directory.accounts
        accounts.add("ada", make_password("secret"))
        ada = enter(stack, running.nodes[0], "ada", password="secret")
        accounts.remove("ada")
        assert ada.read()["code"] == "disabled"


def test_nobody_goes_because_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the directory does not answer, all sessions go on."""
    with cluster(1) as running, ExitStack() as stack:
        directory = running.nodes[0].people.directory
        directory.accounts.add("ada", make_password("secret"))
        ada = enter(stack, running.nodes[0], "ada", password="secret")
        failed: list[str] = []

        def fail(key: str) -> None:
            failed.append(key)
            raise DirectoryError("away")

        with monkeypatch.context() as away:
            away.setattr(directory.store, "get", fail)
            eventually(lambda: len(failed) > 10)
        ada.send({"type": "ping", "nonce": 7})
        assert ada.read()["type"] == "pong"
