"""The limits of names, rooms, texts, versions and addresses are exactly those of the protocol."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.wire import ParlourError, ProtocolError, UnavailableError, UsageError
from parlour.wire.control import Assign
from parlour.wire.limits import (
    MAX_TEXT,
    PROTOCOL,
    check_name,
    check_protocol,
    check_room,
    check_text,
    marked_name,
    parse_address,
)
from parlour.wire.messages import MAX_OFFSET, Hello, Join, Say
from support.strategies import texts, words
from support.waiting import MS


def check_assign(name: str) -> str:
    """Return the name as an `assign` request has it."""
    return Assign(name).name


checks = pytest.mark.parametrize("check", [check_name, check_room, check_assign], ids=["name", "room", "assign"])


ACCEPTED = [
    ("a", "a"),
    ("a" * 64, "a" * 64),
    ("é" * 64, "é" * 64),
    ("e\u0301" * 64, "é" * 64),
    ("😀" * 64, "😀" * 64),
    ("\u1f82" * 64, "\u1f82" * 64),
    ("\u03b1\u0313\u0300\u0345" * 64, "\u1f82" * 64),
    ("lobby-2:a'b", "lobby-2:a'b"),
    ("❤", "❤"),
    ("\u212b", "Å"),
]
"""Accepted words, and the form in which they are kept."""

REFUSED = [
    *["", "a" * 65, "é" * 65, "e\u0301" * 65, "a\u0338" * 64, " ", " a", "a ", "\u00a0a", "a\u3000"],
    *[f"a{bad}b" for bad in "\0\t\n\r\x1b\x7f\x85\x9b\u2028\u2029\ud800\u202a\u202e\u2066\u2069"],
    *[
        f"a{bad}b"
        for bad in " \u2009,\u00ad\u034f\u115f\u17b4\u180b\u200b\u200d\u2065\u2800\u3164\ufe0f\ufeff\U000e0041"
    ],
    *[f"{first}ada" for first in "#&@+%~:!$-*\u0301\u20dd"],
    *["ada: all is well", "-- connection lost"],
]
"""Words that are too short or long, disturb a terminal, or look like another name or line."""


@checks
def test_accepted_words(check: Callable[[str], str], subtests: pytest.Subtests) -> None:
    """A name has 1 to 64 characters, counted after NFC, even if each was spelled with four."""
    for word, kept in ACCEPTED:
        with subtests.test(ascii(word)):
            assert check(word) == kept


@checks
def test_refused_words(check: Callable[[str], str], subtests: pytest.Subtests) -> None:
    """Each error is one line of printable characters."""
    for word in REFUSED:
        with subtests.test(ascii(word)):
            with pytest.raises(UsageError) as caught:
                check(word)
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("a b", r"white space: 'a b' could be 'a_b'"),
        ("a,b", r"commas: 'a,b' could be 'a_b'"),
        ("#lobby", r"begin with '#': '#lobby' could be 'lobby'"),
        ("ad\u200ba", r"invisible characters: 'ad\\u200ba' could be 'ada'"),
        ("\u3164", r"invisible characters: this is 'U\+3164'"),
        ("\u0301a", r"begin with a mark"),
    ],
)
def test_refusal_proposes_a_name(word: str, advice: str) -> None:
    """The error tells what is wrong, shows the name, and proposes another."""
    with pytest.raises(UsageError, match=advice):
        check_room(word)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ada", "ada"),
        ("ada: all is well", "~ada:_all_is_well"),
        ("-- connection lost", "~connection_lost"),
        ("\u200b", "~_"),
        ("x\x1b[2J", "~x[2J"),
    ],
)
def test_names_of_older_logs_are_marked(name: str, shown: str) -> None:
    """A marked name looks neither like another name nor like a line of the program."""
    assert marked_name(name) == shown


@given(name=st.text())
def test_marked_name_is_valid(name: str) -> None:
    """A valid name is shown as it is; any other gets a tilde, and a valid name follows."""
    shown = marked_name(name)
    try:
        assert shown == check_name(name)
    except UsageError:
        assert shown.startswith("~")
        assert check_name(shown[1:65])


@given(word=words)
def test_checks_are_idempotent(word: str) -> None:
    """A check accepts its own result and does not change it."""
    assert check_name(check_name(word)) == check_name(word)
    assert check_room(word) == check_name(word)


def test_hostile_name_is_refused_fast() -> None:
    """A long name of combining marks is refused before it is normalized, which would take the square of its length."""
    hostile = "a" + "\u0315\u0300" * 15_000
    started = time.perf_counter()
    with pytest.raises(UsageError):
        check_name(hostile)
    assert time.perf_counter() - started < 50 * MS


@given(text=texts)
def test_accepted_texts(text: str) -> None:
    """A text of up to 16 KiB passes unchanged."""
    assert check_text(text) is text


@pytest.mark.parametrize("text", ["a" * 16384, "é" * 8192, "山" * 5461, "😀" * 4096], ids=["1", "2", "3", "4"])
def test_texts_are_measured_in_bytes(text: str) -> None:
    """The limit of a text counts bytes of UTF-8; one character more is refused."""
    assert check_text(text) is text
    with pytest.raises(UsageError, match="at most 16384 bytes"):
        check_text(text + text[0])


def test_text_must_be_unicode() -> None:
    """A lone surrogate, which UTF-8 cannot carry, is refused when the message is made."""
    with pytest.raises(UsageError, match="surrogates"):
        Say("lobby", 1, "\ud800")


def test_messages_check_their_fields() -> None:
    """No message can be made with a name, room, text or number outside the limits."""
    makers: list[Callable[[], object]] = [
        lambda: Hello("", "t"),
        lambda: Join(""),
        lambda: Join("lobby", history=-1),
        lambda: Join("lobby", after=-1),
        lambda: Join("lobby", after=MAX_OFFSET + 1),
        lambda: Say("lobby", 0, ""),
        lambda: Say("lobby", MAX_OFFSET + 1, ""),
        lambda: Say("lobby", 1, "a" * (MAX_TEXT + 1)),
    ]
    for maker in makers:
        with pytest.raises(UsageError):
            maker()


@pytest.mark.parametrize("protocol", [PROTOCOL, "1.0", "1.7", "1.12345678901234567890"])
def test_same_major_version_is_accepted(protocol: str) -> None:
    """Every minor version of the same major version is accepted."""
    check_protocol(protocol)


@pytest.mark.parametrize(
    "protocol",
    ["", "1", "1.", ".0", "0.9", "2.0", "11.0", "1.x", "1.0.0", "-1.0", " 1.0", "\u0661.0", "9" * 5000 + ".0"],
)
def test_other_versions_are_refused(protocol: str) -> None:
    """Another major version, or a text that is no version, is refused with one short line."""
    with pytest.raises(UsageError) as caught:
        check_protocol(protocol)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:6000", ("127.0.0.1", 6000)),
        ("localhost:0", ("localhost", 0)),
        ("chat.example.org:65535", ("chat.example.org", 65535)),
        ("chat.example.org.:1", ("chat.example.org.", 1)),
        ("bücher.example:1", ("bücher.example", 1)),
        ("[::1]:6000", ("::1", 6000)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
    ],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    """HOST:PORT is split in two, also an IPv6 address in brackets."""
    assert parse_address(address) == parts


@pytest.mark.parametrize(
    "address",
    [
        *["", ":", "host", "host:", ":6000", "host:x", "host:-1", "host:65536", "host:006000", "host:\u0666"],
        *["host: 1", "::1:6000", "[]:1", " :1", "a b:1", "[host:1", "host]:1", "a\n:1", "\x1b:1", "tcp://host:1"],
        *["*:6000", "[*]:6000", "chat..example.org:6000", ".example.org:6000", "h" * 64 + ".example.org:6000"],
        "h" * 5000,
    ],
    ids=lambda address: ascii(address)[:20],
)
def test_refused_addresses(address: str) -> None:
    """A text that is no address is refused with one short line that shows a valid one."""
    with pytest.raises(UsageError) as caught:
        parse_address(address)
    assert str(caught.value).isprintable()
    assert "6000" in str(caught.value)
    assert len(str(caught.value)) < 200


@given(text=st.text(max_size=30))
def test_any_text_as_address(text: str) -> None:
    """For every text, the check returns an address or raises UsageError."""
    try:
        host, port = parse_address(text)
    except UsageError:
        return
    assert host
    assert 0 <= port <= 65535


def test_one_root_for_all_errors() -> None:
    """One `except ParlourError` is enough; errors of the peer and of the caller have separate classes."""
    for error in (ProtocolError, UsageError, UnavailableError):
        assert issubclass(error, ParlourError)
    assert issubclass(UsageError, ValueError)
    assert not issubclass(ProtocolError, UsageError)
    assert ProtocolError("x").code == "bad_frame"
