"""Logs of a channel: each kind of line as real programs write it, and files that are no logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.chatlog import Came, Entry, Log, Said, Went, crowd, parse_log
from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_TEXT
from support.strategies import texts

EXCERPT = Path(__file__).parents[1] / "data" / "ubuntu-excerpt.txt"


def read(*lines: str, end: str = "\n") -> Log:
    """Read a log with these lines among many others."""
    return parse_log("".join(line + end for line in (*lines, *["[23:59] <end> ."] * 100)).encode(), "day.txt")


def parse(*lines: str) -> list[Entry]:
    """Parse a log of these lines."""
    return list(parse_log("".join(line + "\n" for line in lines).encode(), "day.txt").entries)


def told(*lines: str) -> list[tuple[type[Entry], str, str]]:
    """Return class, nick and text of each entry, without the line that makes the file a log."""
    return [
        (type(entry), entry.nick, entry.text if isinstance(entry, Said) else "")
        for entry in read(*lines).entries[:-100]
    ]


@pytest.mark.parametrize(
    ("line", "nick", "text"),
    [
        ("[02:34] <Ttech> Hi,  I need help", "Ttech", "Hi,  I need help"),
        ("[02:34] <Ttech>", "Ttech", ""),
        ("[11:31] <leleobhz> plz send the links, someone ;] ", "leleobhz", "plz send the links, someone ;] "),
        ("[12:03] <zcat[1] > ajmitch_: 100Mbps minus whatever", "zcat[1]", "ajmitch_: 100Mbps minus whatever"),
        ("[12:45] <[zero] > How do I update?", "[zero]", "How do I update?"),
        ("[04:52] <][AcHm2][> for what no ip my eth0", "][AcHm2][", "for what no ip my eth0"),
        ("[12:03] <K|NgGh0sT> so <b>bold</b> > all", "K|NgGh0sT", "so <b>bold</b> > all"),
        ("[04:48] <brunner> \ufeffis the AMD64 branch …", "brunner", "\ufeffis the AMD64 branch …"),
        ("[05:00] <m>   indented \x02bold\x02\x0b\x85\u2028", "m", "  indented \x02bold\x02\x0b\x85\u2028"),
        ("[05:42] <@ada> an operator", "ada", "an operator"),
        ("[05:42] <\x0304,01ada\x0f> \x0304red\x03", "ada", "\x0304red\x03"),
    ],
)
def test_texts(line: str, nick: str, text: str) -> None:
    """A text is everything behind the nick and one space, to the last byte."""
    assert told(line) == [(Said, nick, text)]


@pytest.mark.parametrize(
    ("line", "nick", "text"),
    [
        ("[05:42]  * maco hugs Pelo", "maco", "hugs Pelo"),
        ("[05:42]  * Topic is 'odd'", "Topic", "is 'odd'"),
        ("[05:42:07] * ada has quit smoking", "ada", "has quit smoking"),
        ("\x0306[05:42] * +ada waves", "ada", "waves"),
        ("[05:42]  * dthacker-work has to go.  bye", "dthacker-work", "has to go.  bye"),
    ],
)
def test_actions(line: str, nick: str, text: str) -> None:
    """An action has the nick and the text without the nick."""
    said = read(line).entries[0]
    assert isinstance(said, Said)
    assert (said.nick, said.text, said.kind) == (nick, text, "action")


@pytest.mark.parametrize(
    ("line", "entries"),
    [
        ("=== burns [n=burns@85-124-49-185.example.at]  has joined #ubuntu", [(Came, "burns", "")]),
        ("=== zcat[1]  [n=zcat@60-234-226-80.example.nz]  has joined #ubuntu", [(Came, "zcat[1]", "")]),
        ("=== newer has joined #ubuntu", [(Came, "newer", "")]),
        ('=== sangria [n=jaime@core.example.com]  has left #ubuntu ["Leaving"] ', [(Went, "sangria", "")]),
        ('=== Harti [n=Harti@unaffiliated/harti]  has left #ubuntu ["-carpe] ', [(Went, "Harti", "")]),
        ('=== gone [n=gone@example.com]  has quit ["Client exiting"]', [(Went, "gone", "")]),
        ("=== ompaul was kicked off #ubuntu by Seveas (Seveas)", [(Went, "ompaul", "")]),
        ("\x0303[10:00] * Joins: bob (~b@host)\x03", [(Came, "bob", "")]),
        ("[10:00] * Parts: bob (~b@host) (bye)", [(Went, "bob", "")]),
        ("[10:00] * Quits: bob (~b@host) (Quit: bye)", [(Went, "bob", "")]),
        ("[10:00] * ada (~a@host) has joined ##chan", [(Came, "ada", "")]),
        ("[10:00] * ada has quit IRC (x)", [(Went, "ada", "")]),
        ("[10:00] * bob was kicked by ada (no)", [(Went, "bob", "")]),
        ("[10:00:01] *** ada has quit IRC (Ping timeout: 240 seconds)", [(Went, "ada", "")]),
        ("[10:01] *** ada is now known as ada_", [(Went, "ada", ""), (Came, "ada_", "")]),
        ("=== u^A is now known as u^A_", [(Went, "u^A", ""), (Came, "u^A_", "")]),
        ("=== [1]SuperSayjin is now known as Super ", [(Went, "[1]SuperSayjin", ""), (Came, "Super", "")]),
    ],
)
def test_joins_parts_and_renames(line: str, entries: list[tuple[type[Entry], str, str]]) -> None:
    """Joins, parts, kicks and changes of name are read in the words of each program."""
    assert told(line) == entries


@pytest.mark.parametrize(
    "line",
    [
        "",
        "=== mode/#ubuntu [-oo rob mdz]  by ChanServ",
        "=== ..[topic/#ubuntu:Seveas] : Happy Dapper Day Everyone! somebody has joined #ubuntu ",
        "Session Start: Mon Jan 02 16:07:49 2017",
        "[10:00] * Now talking in #chan",
        "[10:00] * Topic is 'all is well'",
        "[10:00] * Set by ada!a@host on Tue Oct 25 10:19:06 2016",
        "[10:00] * ChanServ sets mode: +o ada",
        "[10:00] *** ada changes topic to 'tea'",
        "\x0302[10:00] * Disconnected",
    ],
)
def test_other_events_are_skipped(line: str) -> None:
    """Modes, topics and the like concern no nick."""
    assert told(line) == []
    assert read(line).unread == ()


@pytest.mark.parametrize(
    "line",
    [
        "=== Elvis has left the building",
        "=== khermans claps",
        "--- Log opened",
        "-ChanServ- be quiet",
        "[10:00] *** something else",
        "[25:00] <ada> hi",
        "10:00 <ada> hi",
        "and this is the rest",
    ],
)
def test_unread_lines_are_counted(line: str) -> None:
    """A line that fits no format is not played, and its number is kept."""
    log = read("[10:00] <ada> hi", line)
    assert (log.unread, len(log.entries)) == ((2,), 101)


def test_too_many_unread_lines() -> None:
    """A log with more than 2 % of unread lines is refused; the error names the first ones."""
    said = ["[10:00] <ada> hi"] * 293
    assert len(read_lines(said + ["?"] * 5).unread) == 5
    with pytest.raises(UsageError) as caught:
        read_lines(["?"] * 6 + said)
    assert str(caught.value) == (
        "day.txt: 6 of 299 lines fit no format (lines 1, 2, 3, 4, 5, …): "
        "`parlour replay --help` tells what is read; mend or remove them"
    )


def read_lines(lines: list[str]) -> Log:
    """Read a log of just these lines."""
    return parse_log("\n".join(lines).encode(), "day.txt")


def test_continued_lines() -> None:
    """An indented line without a time continues the text right before it, and nothing else."""
    log = read("[10:00] <ada> one", "  two", "\tthree", "=== bob has joined #c", "  four", end="\r\n")
    assert log.entries[0] == Said(1, 0, "ada", "one\ntwo\nthree")
    assert log.unread == (5,)


def test_cut_characters() -> None:
    """A character that IRC cut at byte 512 becomes U+FFFD and counts as mended; one within a line is not cut."""
    lines = [b"[10:00] <ada> caf\xc3\r", b"[10:00] <ada> tea \xf0\x9f\x8d", b"[10:00] <ada> \xc3\xa9"]
    log = parse_log(b"\n".join(lines), "day.txt")
    assert [entry.text for entry in log.entries if isinstance(entry, Said)] == ["caf\ufffd", "tea \ufffd", "é"]
    assert log.mended == (1, 2)


def test_other_encodings() -> None:
    """A file in another encoding is refused until the encoding is named; a few wrong bytes are mended."""
    data = b"[10:00] <ada> caf\xe9 noir\n" + b"[10:00] <ada> hi\n" * 40
    with pytest.raises(UsageError, match=r"day.txt: 1 of 41 lines are not utf-8 \(line 1\): name the file's encoding"):
        parse_log(data, "day.txt")
    assert parse_log(data + b"[10:00] <ada> hi\n" * 9, "day.txt").mended == (1,)
    first = parse_log(data, "day.txt", "cp1252").entries[0]
    assert isinstance(first, Said)
    assert first.text == "café noir"
    for encoding in ("utf-16", "rot13", "klingon"):
        with pytest.raises(UsageError, match=f"{encoding} is no encoding that logs can be read in"):
            parse_log(data, "day.txt", encoding)


def test_line_numbers() -> None:
    """Entries have the line numbers that an editor shows; skipped lines count too."""
    assert [entry.line for entry in parse("[01:00] <a> x", "", "=== a is now known as b", "[01:00] <b> y")] == [
        1,
        3,
        3,
        4,
    ]


def test_times_over_midnight() -> None:
    """Seconds count from the first minute, over midnight; a small step back of the clock changes nothing."""
    times = ["23:58", "23:59", "00:01", "00:00", "00:02"]
    assert [entry.at for entry in parse(*(f"[{time}] <a> x" for time in times))] == [0, 60, 180, 210, 300]


def test_long_silence() -> None:
    """A step back of more than an hour means that midnight has passed."""
    times = ["10:00:05", "23:00:10", "12:30:00", "11:45:00"]
    assert [entry.at for entry in parse(*(f"[{time}] <a> x" for time in times))] == [0, 46805, 95395, 95395.5]


def test_minutes_are_spread() -> None:
    """The lines of one minute are spread over it; a line without a time has that of its neighbours."""
    lines = ["=== b has joined #c", "[10:00] <a> 1", "[10:00] <a> 2", "=== a has left #c", "[10:02] <b> 3"]
    assert [entry.at for entry in parse(*lines)] == [0, 15, 30, 45, 120]


def test_highest_number_of_nicks() -> None:
    """A change of name adds no nick, and a nick that says something is there."""
    lines = ["[10:00] <a> x", "=== b has joined #c", "=== b is now known as d", "=== a has left #c", "[10:00] <e> y"]
    assert crowd(parse(*lines)) == 2


def test_real_log() -> None:
    """The beginning of a real log is read whole, and each text keeps its bytes."""
    data = EXCERPT.read_bytes()
    entries = parse_log(data, "excerpt").entries
    said = [entry for entry in entries if isinstance(entry, Said)]
    raw = [line for line in data.split(b"\n") if line.startswith(b"[")]
    assert [f"<{entry.nick}> {entry.text}".encode() for entry in said] == [line[8:] for line in raw]
    assert sum(isinstance(entry, Came) for entry in entries) == data.count(b"has joined") + 1
    assert sum(isinstance(entry, Went) for entry in entries) == data.count(b"has left") + 1


@given(st.lists(texts.filter(lambda text: "\n" not in text and text[-1:] != "\r"), min_size=1, max_size=5))
def test_any_text_keeps_its_bytes(said: list[str]) -> None:
    """Any text without newlines is read as it was written, with or without a byte order mark before the log."""
    data = "".join(f"[12:00] <ada> {text}\n" for text in said).encode()
    for mark in (b"", b"\xef\xbb\xbf"):
        assert [entry.text for entry in parse_log(mark + data, "day.txt").entries if isinstance(entry, Said)] == said


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"[12:00] <a> " + b"x" * (MAX_TEXT + 1), "day.txt:2: a text has at most"),
        (b"[12:00] <" + b"a" * 65 + b"> hi", "day.txt:2: a name has 1 to 64"),
        (b"=== a\x07b has joined #c", "day.txt:2: a name may not contain control"),
    ],
)
def test_unplayable_lines_are_named(line: bytes, complaint: str) -> None:
    """The error is one line with the file, the number of the line and the reason."""
    with pytest.raises(UsageError) as caught:
        parse_log(b"[12:00] <a> fine\n" + line + b"\n", "day.txt")
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused() -> None:
    """A file without any readable line is refused; the error shows what a log looks like."""
    with pytest.raises(UsageError, match=r"day.txt holds no line such as `\[12:34\] <ada> hello`"):
        parse_log(b"hello\n", "day.txt")
