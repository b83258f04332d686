"""The lines that a person sees: no text of others may reach the terminal as a command to it."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.client.display import Lines, harmless, name_colour
from parlour.client.events import Changed, Message, Presence
from support.named import Named

NOW = datetime(2026, 3, 1, 12, 0)
PLAIN = Lines(colour=False)
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def said(text: str, by: str = "ada", before: timedelta = timedelta(0)) -> Message:
    """Return a message of the time NOW, or of earlier."""
    at = int((NOW - before).timestamp() * 1000)
    return Message("lobby", 1, "s-1", by, at, text, replay=False)


@given(ANY_TEXT)
def test_no_control_character_is_left(text: str) -> None:
    """No control character, line break, override or lone surrogate of any text comes through."""
    for character in harmless(text):
        assert unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}
        assert character not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(st.text(st.characters(exclude_categories=["C", "Z"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Letters, marks, digits, signs and pictures of every script stay."""
    assert harmless(text) == text


def test_control_characters_become_visible() -> None:
    """C0 and DEL become pictures; C1, overrides and surrogates become escapes."""
    assert harmless("\x1b[2J\x07\x00") == "␛[2J␇␀"
    assert harmless("a\x7fb") == "a␡b"
    assert harmless("\x9b31m") == "\\x9b31m"
    assert harmless("abc\u202edcba\u2069") == "abc\\u202edcba\\u2069"
    assert harmless("\ud800") == "\\ud800"
    assert harmless("one\ntwo\r\nthree\u2028four\rfive") == "one⏎two⏎three⏎four␍five"
    assert harmless("a\tb") == "a    b"


def test_marks_of_languages_are_kept() -> None:
    """Joiners within emoji and marks of right-to-left scripts do no harm."""
    family = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
    assert harmless(family) == family
    assert harmless("שלום\u200f!") == "שלום\u200f!"


@given(st.text())
def test_a_name_has_one_colour(name: str) -> None:
    """The colour depends only on the name, and can be read on any background."""
    assert name_colour(name) == name_colour(name)
    assert 16 <= name_colour(name) <= 255


def test_names_have_various_colours() -> None:
    """Names do not all look the same."""
    assert len({name_colour(f"name{number}") for number in range(100)}) > 8


def test_a_message_is_a_line() -> None:
    """It has time, name and text; the room and the day only if needed."""
    assert PLAIN.message(said("hello"), NOW) == "12:00 ada: hello"
    assert PLAIN.message(said("hello"), NOW, room=True) == "12:00 [lobby] ada: hello"
    assert PLAIN.message(said("hello", before=timedelta(days=1)), NOW) == "2026-02-28 12:00 ada: hello"


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be in a place with summer time."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_times_are_those_of_the_messages_own_day(berlin: None) -> None:
    """A message of two in the afternoon in summer shows that time also in winter."""
    summer, winter = (replace(said("hello"), at=at) for at in (1_783_080_000_000, 1_795_867_200_000))
    now = datetime(2026, 11, 28, 12, 0).astimezone()
    assert PLAIN.message(summer, now) == "2026-07-03 14:00 ada: hello"
    assert PLAIN.message(winter, now) == "13:00 ada: hello"


@pytest.mark.parametrize("at", [2**60, -(2**60)])
def test_impossible_times_are_shown_as_unknown(at: int) -> None:
    """A wrong time of a faulty clock or peer does not end the display."""
    assert PLAIN.message(replace(said("hello"), at=at), NOW) == "??:?? ada: hello"


def test_me_is_an_action() -> None:
    """So older versions posted actions; "/meow" is a text."""
    assert PLAIN.message(said("/me waves\x1b"), NOW) == "12:00 * ada waves␛"
    assert PLAIN.message(said("/meow"), NOW) == "12:00 ada: /meow"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (replace(said("waves"), kind="action"), "12:00 * ada waves"),
        (replace(said("/me waves"), kind="action"), "12:00 * ada /me waves"),
        (replace(said("it is green"), kind="notice"), "12:00 ada (notice): it is green"),
        (replace(said("changed the topic to: dice"), kind="topic"), "12:00 -- ada changed the topic to: dice"),
        (replace(said("pinned it"), kind="pin"), "12:00 ada: pinned it"),
        (replace(said("(deleted)"), kind="gone"), "12:00 ada: (deleted)"),
        (replace(said("yes"), ref=7), "12:00 ada (to #7): yes"),
        (replace(said("hello"), edited=True), "12:00 ada: hello (edited)"),
        (
            replace(said("hello"), edited=True, reactions={"👍": ("bob",), "\x1b[2J": ("a", "b", "c", "d", "e")}),
            "12:00 ada: hello (edited) [👍 bob, ␛[2J a, b, c and 2 more]",
        ),
    ],
)
def test_the_kind_of_a_message_can_be_seen(message: Message, line: str) -> None:
    """Actions, notices, replies, edited messages and reactions look different; an unknown kind is a text."""
    assert PLAIN.message(message, NOW) == line


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("hello", "hello"),
        ("/me waves", "waves"),
        ("twenty characters ...", "twenty characters .…"),
        ("two\nlines\x1b", "two⏎lines␛"),
    ],
)
def test_a_reply_quotes_its_message(text: str, quote: str) -> None:
    """The harmless beginning of the text, behind the name of its sender."""
    reply = replace(said("yes", by="bob"), ref=7)
    assert PLAIN.message(reply, NOW, answered=said(text)) == f'12:00 bob (to ada: "{quote}"): yes'
    wave = replace(reply, kind="action", text="waves")
    assert PLAIN.message(wave, NOW, answered=said(text)) == f'12:00 * bob (to ada: "{quote}") waves'


def test_a_number_is_shown_on_demand() -> None:
    """Commands name a message by it."""
    assert PLAIN.message(replace(said("hello"), offset=301), NOW, numbered=True) == "12:00 #301 ada: hello"


def test_an_answer_to_the_reader_stands_out() -> None:
    """As the reader's name in a text does; the reader's own answers, and answers to others, do not."""
    lines, hello = Lines(colour=True, reader=Named("ada")), said("hello")
    reply = replace(said("yes", by="bob"), ref=1)
    assert lines.mentions(reply, hello)
    assert "(to \x1b[1;7mada\x1b[0m:" in lines.message(reply, NOW, answered=hello)
    assert not lines.mentions(replace(reply, by="ada"), hello)
    assert not lines.mentions(reply, replace(hello, by="cyd"))


def test_mentions_follow_the_names_of_the_reader() -> None:
    """A new name or display name counts from then on, the old one no more; what the reader said stays the reader's."""
    ada = Named("ada")
    lines = Lines(colour=True, reader=ada)
    old, mine = said("ada: hello", by="bob"), replace(said("hello, ada and eve"), mine=True)
    assert lines.mentions(old)
    assert not lines.mentions(mine)
    ada.name, ada.display = "eve", "Countess *"
    assert not lines.mentions(old)
    assert not lines.mentions(mine), "said under the earlier name"
    assert not lines.mentions(said("I am eve", by="eve"))
    assert lines.mentions(replace(said("yes", by="bob"), ref=1), mine)
    assert lines.mentions(said("EVE?", by="ada"))
    assert not lines.mentions(said("every evening", by="bob"))
    line = lines.message(said("eve, the countess *, is here", by="bob"), NOW)
    assert "\x1b[1;7meve\x1b[0m, the \x1b[1;7mcountess *\x1b[0m, is here" in line


def change(kind: str, text: str, by: str, before: Message | None = None, now: Message | None = None) -> Changed:
    """Return a change of a message."""
    return Changed(replace(said(text, by), offset=9, kind=kind, ref=1), now, before)


def moderated(text: str, before: Message | None = None, now: Message | None = None) -> Changed:
    """Return the deletion of a message by somebody who keeps order."""
    changed = change("redact", text, "bob", before, now)
    return replace(changed, record=replace(changed.record, data={"moderator": True}))


HELLO = said("hello", before=timedelta(minutes=2))
BYE = replace(HELLO, text="bye", edited=True)
LIKED = replace(HELLO, reactions={"👍": ("bob", "cyd"), "no": ("bob",)})


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (change("edit", "bye\x1b", "ada", HELLO, replace(BYE, text="bye\x1b")), "-- ada edited #1 (11:58): bye␛"),
        (change("edit", "bye", "ada"), "-- ada edited #1: bye"),
        (change("edit", "bye", "bob", HELLO, HELLO), ""),
        (
            change("redact", "", "ada", HELLO, replace(HELLO, kind="gone", text="(deleted)")),
            "-- ada deleted #1 (11:58)",
        ),
        (change("redact", "", "ada"), "-- ada deleted #1"),
        (
            moderated("deleted a message of ada", HELLO, replace(HELLO, kind="gone", text="(deleted)")),
            "-- bob deleted a message of ada: #1 (11:58)",
        ),
        (moderated("deleted a message of ad\x1b"), "-- bob deleted a message of ad␛: #1"),
        (
            change("react", "👍", "bob", HELLO, replace(HELLO, reactions={"👍": ("bob",)})),
            '-- bob: 👍 to ada\'s "hello"',
        ),
        (change("react", "\x1b", "bob"), "-- bob: ␛ to #1"),
        (
            change("redact", "", "bob", LIKED, replace(LIKED, reactions={"👍": ("cyd",), "no": ("bob",)})),
            '-- bob took back 👍 to ada\'s "hello"',
        ),
        (change("redact", "", "ada", BYE, HELLO), "-- ada took back the edit of #1 (11:58): hello"),
    ],
)
def test_a_change_is_a_line(changed: Changed, line: str) -> None:
    """It says who did what to which message, as far as that is known; a record without effect gives no line."""
    assert PLAIN.changed(changed, NOW) == line
    assert PLAIN.changed(changed, NOW, room=True) == line.replace("-- ", "-- [lobby] ")


def test_escapes_of_others_never_survive() -> None:
    """Only the escapes of our own colours are there."""
    line = Lines(colour=True).message(said("\x1b[31mred", by="e\x1bve"), NOW)
    assert "␛[31mred" in line
    assert f"\x1b[1;38;5;{name_colour(chr(101) + chr(27) + 've')}m~eve\x1b[0m" in line


def test_changes_of_the_members_are_one_line() -> None:
    """It has both kinds, a few of many names, and the count at the end."""
    assert PLAIN.presence(Presence("lobby", ("bob",), (), 2)) == "-- bob came (2 here)"
    line = PLAIN.presence(Presence("lobby", ("a", "b"), ("c", "d", "e", "f", "g", "h", "i"), 9), room=True)
    assert line == "-- [lobby] a and b came, c, d, e, f, g and 2 more left (9 here)"


def test_a_short_list_says_how_many_are_missing() -> None:
    """A list that the node cut short is not taken for all members."""
    assert PLAIN.here("lobby", ["ada", "bob"], 2) == "-- 2 in lobby: ada, bob"
    assert PLAIN.here("lobby", ["ada", "bob"], 300) == "-- 300 in lobby: ada, bob and 298 more"


def test_a_name_of_an_older_log_is_marked() -> None:
    """It could look like another person's line, or like a remark of the program."""
    assert PLAIN.message(said("so they say", "ada: all is well"), NOW) == "12:00 ~ada:_all_is_well: so they say"
    assert PLAIN.presence(Presence("lobby", ("-- bob left",), (), 2)) == "-- ~bob_left came (2 here)"
    assert PLAIN.here("lobby", ["ada", "b\u200bob"], 2) == "-- 2 in lobby: ada, ~bob"
