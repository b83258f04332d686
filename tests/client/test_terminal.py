"""The chat in a real terminal, as people see it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

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
    """Open a pane in which ada chats in the lobby; return its number once she can type."""
    pane = tmux.open(*chat(cluster, "--name", "ada", "--room", "lobby"))
    tmux.shows(pane, "lobby>")
    return pane


def test_two_people_talk_in_their_terminals(cluster: Cluster, tmux: Tmux) -> None:
    """They give a name and a room; a half-typed line stays whole while another person's line arrives."""
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
    # The typed line does not stay on the screen beside the message.
    assert not any(line.startswith("lobby> half") for line in tmux.lines(ada))

    tmux.type(ada, "half a farewell")
    tmux.press(ada, "C-c")
    tmux.shows(ada, "exit=0")
    tmux.shows(bob, "-- ada left (1 here)")
    tmux.press(bob, "C-d")
    tmux.shows(bob, "exit=0")
    for pane in (ada, bob):
        assert not any("Traceback" in line for line in tmux.lines(pane))


def test_replies_edits_deletions_and_reactions(cluster: Cluster, tmux: Tmux) -> None:
    """Commands mean the last message or the one of a number; a newcomer sees the result."""
    bob = cluster.chat("bob").join("lobby")
    pane = in_lobby(cluster, tmux)
    tmux.type(pane, "helo", "Enter")
    tmux.shows(pane, " ada: helo")
    tmux.type(pane, "/edit hello, bob", "Enter")
    tmux.shows(pane, "): hello, bob")
    bob.react(1, "👍")
    tmux.shows(pane, '-- bob: 👍 to ada\'s "hello, bob"')
    bob.reply(1, "hi")
    tmux.shows(pane, ' bob (to ada: "hello, bob"): hi')
    tmux.type(pane, "/reply how are you?", "Enter")
    tmux.shows(pane, ' ada (to bob: "hi"): how are you?')
    tmux.type(pane, "/react +1", "Enter")
    tmux.shows(pane, '-- ada: +1 to bob\'s "hi"')
    bob.say("oops")
    tmux.shows(pane, " bob: oops")
    bob.redact(7)
    eventually(lambda: any("-- bob deleted #7 (" in line for line in tmux.lines(pane)))
    tmux.type(pane, "/delete", "Enter")
    eventually(lambda: any("-- ada deleted #5 (" in line for line in tmux.lines(pane)))
    tmux.type(pane, "/delete #4", "Enter")
    eventually(lambda: any("-- not sent: /delete #4 (only its author and" in line for line in tmux.lines(pane)))
    tmux.type(pane, "/numbers", "Enter")
    tmux.shows(pane, ' #4 bob (to ada: "hello, bob"): hi [+1 ada]')
    tmux.shows(pane, " #1 ada: hello, bob (edited) [👍 bob]")
    cyd = tmux.open(*chat(cluster, "--name", "cyd", "--room", "lobby"))
    tmux.shows(cyd, "-- 3 in lobby: ada, bob, cyd")
    assert [line.partition(" ")[2] for line in tmux.lines(cyd)[1:3]] == [
        "ada: hello, bob (edited) [👍 bob]",
        'bob (to ada: "hello, bob"): hi [+1 ada]',
    ]


def test_a_lost_connection_is_replaced(cluster: Cluster, tmux: Tmux) -> None:
    """The nodes stop while a person types: a line says so, and typed lines are sent when a node is back."""
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
def test_unsent_lines_are_shown_on_leaving(cluster: Cluster, tmux: Tmux, key: str) -> None:
    """The person gives up waiting: the line is on the screen, and the exit status tells of it."""
    pane = in_lobby(cluster, tmux)
    for node in cluster.nodes:
        node.stop()
    tmux.shows(pane, "-- connection lost, coming back")
    tmux.type(pane, "is anybody there?")
    tmux.shows(pane, "lobby> is anybody there?")
    tmux.press(pane, "Enter")
    tmux.shows(pane, "lobby>")
    tmux.press(pane, key)
    tmux.shows(pane, "-- may not have been sent: is anybody there?")
    tmux.shows(pane, "exit=1")
    assert any(line.startswith("parlour: 1 of your lines") for line in tmux.lines(pane))


def test_commands_in_the_terminal(cluster: Cluster, tmux: Tmux) -> None:
    """Rooms are entered, named on their lines, and left; an unknown command gets a hint."""
    pane = in_lobby(cluster, tmux)
    tmux.type(pane, "/join den", "Enter")
    tmux.shows(pane, "den>")
    tmux.type(pane, "in here", "Enter")
    tmux.shows(pane, "[den] ada: in here")
    tmux.type(pane, "/join lobby", "Enter")
    tmux.shows(pane, "lobby>")
    tmux.type(pane, "/dance", "Enter")
    tmux.shows(pane, "/help, or //dance to send it as a text")
    tmux.type(pane, "/leave den", "Enter")
    tmux.shows(pane, "-- you left den")
    tmux.type(pane, "/quit", "Enter")
    tmux.shows(pane, "exit=0")


def test_a_coloured_text_is_pasted(cluster: Cluster, tmux: Tmux) -> None:
    """In a terminal that does not mark pasted text, its colours look like a mouse, and are left out."""
    pane = in_lobby(cluster, tmux)
    tmux.type(pane, "\x1b[31mred\x1b[0m and \x1b[1;32;44mgreen\x1b[0m", "Enter")
    tmux.shows(pane, " ada: red and green")
    tmux.type(pane, "/quit", "Enter")
    tmux.shows(pane, "exit=0")


def test_history_shows_older_messages(cluster: Cluster, tmux: Tmux) -> None:
    """Fifty messages are shown at first; /history goes back from there, page by page, to the first one kept."""
    cluster.nodes[0].log.append("lobby", [Post("s", number, "eve", 1, f"line {number}") for number in range(1, 59)])
    pane = tmux.open(*chat(cluster, "--name", "ada", "--room", "lobby"))
    tmux.shows(pane, "eve: line 58")
    tmux.type(pane, "/history 5", "Enter")
    tmux.shows(pane, "-- end of the older messages")
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


def test_a_chat_is_put_aside_and_taken_up_again(cluster: Cluster, tmux: Tmux) -> None:
    """Ctrl-Z gives the shell back; after `fg` the half-typed line is there, and the messages of the meantime."""
    pane = tmux.open("bash", "--norc", "-i")
    tmux.type(pane, " ".join(chat(cluster, "--name", "ada", "--room", "lobby")), "Enter")
    tmux.shows(pane, "lobby>")
    tmux.type(pane, "half a li", "C-z")
    eventually(lambda: any("Stopped" in line for line in tmux.lines(pane)))
    cluster.chat("bob").join("lobby").say("meanwhile")
    tmux.type(pane, "fg", "Enter")
    tmux.shows(pane, " bob: meanwhile")
    tmux.shows(pane, "lobby> half a li")
    tmux.type(pane, "ne", "Enter")
    tmux.shows(pane, " ada: half a line")


def test_page_keys_leave_the_line_alone(cluster: Cluster, tmux: Tmux) -> None:
    """A person who wants to see more of the screen does not get an older line in its place."""
    pane = in_lobby(cluster, tmux)
    tmux.type(pane, "one", "Enter")
    tmux.shows(pane, " ada: one")
    tmux.type(pane, "half", "PPage", "NPage")
    tmux.type(pane, " a line")
    tmux.shows(pane, "lobby> half a line")


def test_several_lines_are_pasted(cluster: Cluster, tmux: Tmux) -> None:
    """Only the Return key posts them; they are one message, shown as several lines."""
    bob = cluster.chat("bob").join("lobby")
    pane = in_lobby(cluster, tmux)
    tmux.paste(pane, "def f():\r\n    return 1\n-- ada left\n")
    tmux.shows(pane, "-- ada left")
    # A change of the members may be shown meanwhile, for which the prompt is removed and drawn again.
    eventually(lambda: tmux.lines(pane)[-3:] == ["lobby> def f():", "    return 1", "-- ada left"])
    assert bob.history() == []
    tmux.press(pane, "Enter")
    tmux.shows(pane, "      | -- ada left")
    eventually(lambda: tmux.lines(pane)[-1] == "lobby>")
    first, *others = tmux.lines(pane)[-4:-1]
    assert first.endswith(" ada: def f():")
    assert others == ["      |     return 1", "      | -- ada left"]
    assert [message.text for message in bob.history()] == ["def f():\n    return 1\n-- ada left"]


def test_typed_lines_are_there_in_the_next_chat(cluster: Cluster, tmux: Tmux) -> None:
    """The arrow key brings them back; other users cannot read the file."""
    pane = in_lobby(cluster, tmux)
    tmux.type(pane, "über 雪", "Enter")
    tmux.shows(pane, " ada: über 雪")
    tmux.press(pane, "C-d")
    tmux.shows(pane, "exit=0")
    pane = in_lobby(cluster, tmux)
    tmux.press(pane, "Up")
    tmux.shows(pane, "lobby> über 雪")
    assert (tmux.state / "parlour" / "typed").stat().st_mode & 0o777 == 0o600


def test_the_tab_key_completes(cluster: Cluster, tmux: Tmux) -> None:
    """Commands at the start of a line, known rooms behind /join, names everywhere else."""
    cluster.chat("barbara").join("lobby")
    pane = in_lobby(cluster, tmux)
    tmux.type(pane, "/jo", "Tab")
    tmux.shows(pane, "lobby> /join")
    tmux.type(pane, "den", "Enter")
    tmux.shows(pane, "den>")
    tmux.type(pane, "/join lo", "Tab", "Enter")
    tmux.shows(pane, "lobby>")
    tmux.type(pane, "BAR", "Tab")
    tmux.type(pane, "and bar", "Tab")
    tmux.shows(pane, "lobby> barbara: and barbara")


def test_the_readers_name_stands_out(cluster: Cluster, tmux: Tmux) -> None:
    """The bell rings for it in new messages, not for a part of a word."""
    bob = cluster.chat("bob").join("lobby")
    bob.say("ada was named before she came")
    pane = in_lobby(cluster, tmux)
    front = tmux.open("cat")
    bob.say("adam and Canada are others")
    tmux.shows(pane, "are others")
    assert not tmux.rang(pane)
    bob.say("are you there, Ada?")
    tmux.shows(pane, "are you there, Ada?")
    eventually(lambda: tmux.rang(pane), what="the bell rings")
    assert "\x1b[7mAda" in tmux.raw(pane).replace("[1;7m", "[7m").replace("\x1b[1m\x1b[7m", "\x1b[7m")
    assert front != pane


def test_a_new_day_has_a_line(cluster: Cluster, tmux: Tmux) -> None:
    """At midnight, also without a message; the place is one where midnight comes in a few seconds."""
    noon = datetime.now(UTC) + timedelta(seconds=8)
    left = timedelta(hours=24) - timedelta(hours=noon.hour, minutes=noon.minute, seconds=noon.second)
    minutes, seconds = divmod(left.seconds, 60)
    zone = f"XXX-{minutes // 60}:{minutes % 60}:{seconds}"
    pane = tmux.open("env", f"TZ={zone}", *chat(cluster, "--name", "ada", "--room", "lobby"))
    tmux.shows(pane, "lobby>")
    day = (noon + left).date()
    tmux.shows(pane, f"-- {day:%A}, {day.day} {day:%B %Y}")
    assert tmux.lines(pane)[-1] == "lobby>"


def test_no_color_is_respected(cluster: Cluster, tmux: Tmux) -> None:
    """NO_COLOR changes only the colours."""
    cluster.chat("bob").join("lobby").say("hello, ada")
    pane = tmux.open("env", "NO_COLOR=1", *chat(cluster, "--name", "ada", "--room", "lobby"))
    tmux.shows(pane, "lobby>")
    tmux.shows(pane, " bob: hello, ada")
    assert "\x1b" not in tmux.raw(pane).replace("\x1b[39m", "").replace("\x1b[49m", "").replace("\x1b[0m", "")


def test_rooms_that_differ_only_in_case(cluster: Cluster, tmux: Tmux) -> None:
    """A remark tells them apart; a wrong name gets a proposal."""
    pane = in_lobby(cluster, tmux)
    tmux.type(pane, "/join Lobby", "Enter")
    tmux.shows(pane, "-- Lobby is not lobby: upper and lower case differ")
    tmux.type(pane, "/join Garden", "Enter")
    tmux.shows(pane, "-- Garden is new; garden would be another room")
    tmux.type(pane, "/join a b", "Enter")
    tmux.shows(pane, "-- a room name may not contain white space: 'a b' could be 'a_b'")
