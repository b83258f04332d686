"""Private conversations and what is new, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from sys import executable

import pytest

from parlour.client import connect
from parlour.directory.passwords import make_password
from support.cluster import Cluster, cluster
from support.tmux import MISSING, Tmux, tmux
from support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

PASSWORD = "open sesame"


@pytest.fixture
def running() -> Iterator[Cluster]:
    """Two nodes, and accounts for ada and bob."""
    with cluster(2) as running:
        for name in ("ada", "bob"):
            running.nodes[0].people.directory.accounts.add(name, make_password(PASSWORD))
        yield running


@pytest.fixture
def terminal() -> Iterator[Tmux]:
    """A terminal."""
    with tmux() as terminal:
        yield terminal


def enter(terminal: Tmux, running: Cluster, folder: Path, name: str) -> int:
    """Open a chat of an account in a new window, and return that."""
    (folder / "password").write_text(f"{PASSWORD}\n")
    where = ["--broker", running.address, "--name", name, "--room", "lobby"]
    pane = terminal.open(executable, "-m", "parlour.cli", "chat", *where, "--password-file", str(folder / "password"))
    terminal.shows(pane, "lobby>")
    return pane


def test_two_people_talk_alone(terminal: Tmux, running: Cluster, tmp_path: Path) -> None:
    """/msg opens a conversation that both see under the other's name; /ignore hides somebody."""
    ada, bob = (enter(terminal, running, tmp_path, name) for name in ("ada", "bob"))
    terminal.type(ada, "/msg bob psst", "Enter")
    terminal.shows(bob, "[@ada] ada: psst")
    terminal.type(bob, "/msg ada", "Enter")
    terminal.shows(bob, "@ada>")
    terminal.type(bob, "what is it?", "Enter")
    terminal.shows(ada, "[@bob] bob: what is it?")
    terminal.type(ada, "/ignore bob", "Enter")
    terminal.shows(ada, "-- you see nothing of bob from now on")
    terminal.type(bob, "hello?", "Enter")
    terminal.shows(bob, "bob: hello?")
    terminal.type(ada, "/rooms", "Enter")
    terminal.shows(ada, "-- lobby (2 there)")
    assert not any("hello?" in line for line in terminal.lines(ada))


def test_what_is_new(terminal: Tmux, running: Cluster, tmp_path: Path) -> None:
    """Somebody who comes back is told what is new in the other rooms; what was read in the terminal is not."""
    directory = running.nodes[0].people.directory
    with connect(running.address, "bob", password=PASSWORD) as bob, connect(running.address, "cy") as cy:
        bob.join("attic")
        bob.join("lobby")
        attic, lobby = cy.join("attic"), cy.join("lobby")
        bob.close()
        attic.say("bob: look")
        offset = lobby.say("hello").offset
        pane = enter(terminal, running, tmp_path, "bob")
        terminal.shows(pane, "-- since you were here: attic (1 new, 1 for you), lobby (1 new)")
        eventually(lambda: directory.belongings.get("account/bob").rooms["lobby"] >= offset)


def test_rooms_are_entered_again(terminal: Tmux, running: Cluster, tmp_path: Path) -> None:
    """Somebody who comes back hears all rooms of the account; one that was not looked at stays unread."""
    belongings = running.nodes[0].people.directory.belongings
    with connect(running.address, "bob", password=PASSWORD) as bob, connect(running.address, "cy") as cy:
        for name in ("attic", "cellar", "lobby"):
            bob.join(name)
        bob.leave("cellar")
        bob.close()
        attic = cy.join("attic")
        attic.say("look")
        pane = enter(terminal, running, tmp_path, "bob")
        terminal.shows(pane, "-- since you were here: attic (1 new)")
        terminal.shows(pane, "-- you are also in attic: /join attic goes there")
        assert not any("look" in line for line in terminal.lines(pane))
        offset = attic.say("hello").offset
        terminal.shows(pane, "[attic] cy: hello")
        assert belongings.get("account/bob").rooms["attic"] < offset
        terminal.type(pane, "/join attic", "Enter")
        terminal.shows(pane, "cy: look")
        terminal.shows(pane, "attic>")
        eventually(lambda: belongings.get("account/bob").rooms["attic"] == offset)
        terminal.type(pane, "/quit", "Enter")


def test_a_new_account_is_at_home(terminal: Tmux, running: Cluster) -> None:
    """Who registers is in the room of the invitation, and this device signs in by itself until it is revoked."""
    directory = running.nodes[0].people.directory
    code = directory.invitations.make("club", 1, 2**50)
    start = [executable, "-m", "parlour.cli", "chat", "--broker", running.address, "--name", "zoe", "--room", "lobby"]
    pane = terminal.open(*start)
    terminal.shows(pane, "lobby>")
    terminal.type(pane, f"/register {code}", "Enter")
    terminal.shows(pane, "new password:")
    terminal.type(pane, PASSWORD, "Enter")
    terminal.shows(pane, "the same again:")
    terminal.type(pane, PASSWORD, "Enter")
    terminal.shows(pane, "-- zoe is your account now: nobody else can take the name")
    terminal.shows(pane, "-- you are also in club: /join club goes there")
    terminal.type(pane, "/quit", "Enter")
    terminal.shows(pane, "exit=0")
    pane = terminal.open(*start)
    terminal.shows(pane, "-- you are also in club: /join club goes there")
    (device,) = directory.tokens.list("zoe")
    terminal.type(pane, "/devices", "Enter")
    terminal.shows(pane, f"  {device.label}")
    terminal.type(pane, f"/devices revoke {device.id}", "Enter")
    terminal.shows(pane, "-- no device signs in to your account by itself")
    assert directory.tokens.list("zoe") == []
    terminal.type(pane, "/devices forget", "Enter")
    terminal.shows(pane, "type /devices alone, or /devices revoke ID")
    terminal.type(pane, "/quit", "Enter")
