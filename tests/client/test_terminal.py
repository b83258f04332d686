"""The terminal chat in a real terminal, as two people see it."""

from __future__ import annotations

import sys

import pytest

from parlour.node.log import Post
from support.cluster import Cluster
from support.tmux import MISSING, Tmux
from support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def chat(cluster: Cluster, *arguments: str) -> list[str]:
    """Return the command of a chat with this cluster."""
    return [sys.executable, "-m", "parlour.cli", "chat", "--broker", cluster.address, *arguments]


def in_lobby(cluster: Cluster, tmux: Tmux) -> int:
    """Open a pane in which ada chats in the lobby; return its number once she may type."""
    pane = tmux.open(*chat(cluster, "--name", "ada", "--room", "lobby"))
    tmux.shows(pane, "lobby>")
    return pane


def test_two_people_talk_in_their_terminals(cluster: Cluster, tmux: Tmux) -> None:
    """Asked for a name and a room they are in; a half-typed line stays whole while another's line arrives."""
    ada = tmux.open(*chat(cluster))
    tmux.shows(ada, "]:")
    tmux.type(ada, "ada", "Enter")
    tmux.shows(ada, "Room [lobby]:")
    tmux.press(ada, "Enter")
    tmux.shows(ada, "lobby>")
    bob = tmux.open(*chat(cluster, "--name", "bob", "--room", "lobby"))
    tmux.shows(bob, "-- 2 in lobby: ada, bob")
    tmux.shows(ada, "-- bob came (2 here)")
    nodes = {line.split()[3] for pane in (ada, bob) for line in tmux.lines(pane) if "connected to" in line}
    assert nodes == {"n1", "n2"}

    tmux.type(ada, "half a li")
    tmux.shows(ada, "lobby> half a li")
    tmux.type(bob, "look \\x1b[2J, ", "Enter")
    tmux.type(bob, "/me waves", "Enter")
    tmux.shows(ada, "* bob waves")
    tmux.shows(ada, "lobby> half a li")
    assert tmux.lines(ada)[-1] == "lobby> half a li"

    tmux.type(ada, "ne", "Enter")
    tmux.shows(bob, " ada: half a line")
    tmux.shows(ada, " ada: half a line")
    # What was typed is not left standing beside what was said.
    assert not any(line.startswith("lobby> half") for line in tmux.lines(ada))

    tmux.type(ada, "half a farewell")
    tmux.press(ada, "C-c")
    tmux.shows(ada, "exit=0")
    tmux.shows(bob, "-- ada left (1 here)")
    tmux.press(bob, "C-d")
    tmux.shows(bob, "exit=0")
    for pane in (ada, bob):
        assert not any("Traceback" in line for line in tmux.lines(pane))


def test_a_lost_connection_is_told_and_found_again(cluster: Cluster, tmux: Tmux) -> None:
    """The nodes stop while a person types: a line says so, what is typed meanwhile is said when one is back."""
    pane = in_lobby(cluster, tmux)
    tmux.type(pane, "half a li")
    for node in cluster.nodes:
        node.stop()
    tmux.shows(pane, "-- connection lost, coming back")
    tmux.shows(pane, "lobby> half a li")
    tmux.type(pane, "ne", "Enter")
    cluster.add_node("n3")
    tmux.shows(pane, "-- back, on n3")
    tmux.shows(pane, " ada: half a line")
    tmux.type(pane, "half")
    cluster.nodes[-1].stop()
    tmux.shows(pane, "-- connection lost, coming back")
    tmux.press(pane, "C-c")
    tmux.shows(pane, "exit=0")
    assert not any("Traceback" in line for line in tmux.lines(pane))


@pytest.mark.parametrize("key", ["C-c", "C-d"])
def test_what_was_not_said_is_shown_to_who_leaves(cluster: Cluster, tmux: Tmux, key: str) -> None:
    """A line that waits for a connection is on the screen when one gives up waiting, and the status tells of it."""
    pane = in_lobby(cluster, tmux)
    for node in cluster.nodes:
        node.stop()
    tmux.shows(pane, "-- connection lost, coming back")
    tmux.type(pane, "is anybody there?")
    tmux.shows(pane, "lobby> is anybody there?")
    tmux.press(pane, "Enter")
    tmux.shows(pane, "lobby>")
    tmux.press(pane, key)
    tmux.shows(pane, "-- not said, as far as is known: is anybody there?")
    tmux.shows(pane, "exit=1")
    assert any(line.startswith("parlour: 1 of your lines") for line in tmux.lines(pane))


def test_commands_in_the_terminal(cluster: Cluster, tmux: Tmux) -> None:
    """Rooms are entered, named on their lines, and left; what is no command gets a hint."""
    pane = in_lobby(cluster, tmux)
    tmux.type(pane, "/join den", "Enter")
    tmux.shows(pane, "den>")
    tmux.type(pane, "in here", "Enter")
    tmux.shows(pane, "[den] ada: in here")
    tmux.type(pane, "/join lobby", "Enter")
    tmux.shows(pane, "lobby>")
    tmux.type(pane, "/dance", "Enter")
    tmux.shows(pane, "slash")
    tmux.type(pane, "/leave den", "Enter")
    tmux.shows(pane, "-- you left den")
    tmux.type(pane, "/quit", "Enter")
    tmux.shows(pane, "exit=0")


def test_a_coloured_text_is_pasted(cluster: Cluster, tmux: Tmux) -> None:
    """Where a terminal does not mark what is pasted, its colours look like a mouse, and are left out."""
    pane = in_lobby(cluster, tmux)
    tmux.type(pane, "\x1b[31mred\x1b[0m and \x1b[1;32;44mgreen\x1b[0m", "Enter")
    tmux.shows(pane, " ada: red and green")
    tmux.type(pane, "/quit", "Enter")
    tmux.shows(pane, "exit=0")


def test_a_person_looks_back_past_what_was_shown(cluster: Cluster, tmux: Tmux) -> None:
    """Fifty lines are shown on coming; /history goes back from there, page by page, to the first that is kept."""
    cluster.nodes[0].log.append("lobby", [Post("s", number, "eve", 1, f"line {number}") for number in range(1, 59)])
    pane = tmux.open(*chat(cluster, "--name", "ada", "--room", "lobby"))
    tmux.shows(pane, "eve: line 58")
    tmux.type(pane, "/history 5", "Enter")
    tmux.shows(pane, "-- so far what was before")
    assert [line.split()[-1] for line in tmux.lines(pane) if "eve: line" in line][-5:] == ["4", "5", "6", "7", "8"]
    tmux.type(pane, "/history", "Enter")
    tmux.shows(pane, "eve: line 1")
    tmux.type(pane, "/history", "Enter")
    tmux.shows(pane, "-- nothing older is kept of lobby")
    tmux.type(pane, "/leave", "Enter")
    tmux.shows(pane, "-- you left lobby")
    tmux.type(pane, "/join lobby", "Enter")
    tmux.shows(pane, "lobby>")
    tmux.type(pane, "/history 3", "Enter")
    eventually(lambda: [line.split()[-1] for line in tmux.lines(pane) if "eve: line" in line][-3:] == ["6", "7", "8"])
