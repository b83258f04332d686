"""The work of `send`: post texts in order, and report lost ones on standard error.

This module owns the reading of standard input as lines that can be posted, and the posts under way; it runs on the main
thread. It must never stop reading before the end of its input: that would end the program that writes it.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import Protocol

from parlour.client.chat import Chat
from parlour.client.errors import DeadlineError, DisconnectedError, NodeError
from parlour.client.events import Message
from parlour.client.room import Room
from parlour.runtime.operator_messages import print_error
from parlour.wire.errors import ParlourError
from parlour.wire.limits import MAX_TEXT

__all__ = ["Arguments", "Input", "Sender", "Source", "Text", "enter"]

WINDOW = 200
"""Most messages under way at a time."""

_ACKNOWLEDGED = 30.0
"""Seconds in which a message must be acknowledged."""

_TICK = 0.5
"""Seconds between two checks of the posts under way, while nothing else happens."""

_EXPLAINED = 2.0
"""Seconds that a message waits before the reason is reported."""


@dataclass(frozen=True)
class Text:
    """A text to post, and a remark if it had to be changed."""

    number: int  # of its line or argument, from 1
    text: str
    remark: str | None = None


class Source(Protocol):
    """A source of texts."""

    noun: str
    """The word for one text in messages to the user."""

    def read(self, timeout: float) -> Text | None:
        """Return the next text, or None if none came within `timeout` seconds; raises EOFError after the last."""
        ...

    def drain(self, reason: str) -> None:
        """Read and drop the rest, since nothing can be posted any more for this reason."""
        ...


class Arguments:
    """The texts of the command line."""

    noun = "message"

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = deque(Text(number, text) for number, text in enumerate(texts, 1))

    def read(self, timeout: float) -> Text | None:
        """Return the next text; raises EOFError after the last."""
        if not self._texts:
            raise EOFError
        return self._texts.popleft()

    def drain(self, reason: str) -> None:
        """Do nothing: no program writes these texts."""


class Input:
    """The lines of a file or pipe: a line that is too long becomes several texts, and wrong bytes become U+FFFD."""

    noun = "line"

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLIN)
        self._rest = b""  # at most one text and the bytes of one read
        self._ended = False
        self._number = 1  # of the line that the rest belongs to
        self._begun = False  # whether a part of that line was returned
        self._split = False  # whether the remark about several parts was made
        self._texts: deque[Text] = deque()

    def read(self, timeout: float) -> Text | None:
        """Return the next text, or None if none came within `timeout` seconds; raises EOFError after the last."""
        deadline = time.monotonic() + timeout
        while not self._texts:
            if self._cut():
                continue
            if self._ended:
                raise EOFError
            if not self._ready.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
                return None
            data = os.read(self._descriptor, 65536)
            self._ended = not data
            self._rest += data
        return self._texts.popleft()

    def drain(self, reason: str) -> None:
        """Read and drop the rest unless a person types it: a program that writes to a closed pipe would be ended."""
        if not self._ended and not os.isatty(self._descriptor):
            print_error(f"{reason}; the rest of standard input is dropped")
            while os.read(self._descriptor, 65536):
                pass

    def _cut(self) -> bool:
        """Take a line from the rest, or as much of it as one message can hold; return False if there is none."""
        line, newline, rest = self._rest.partition(b"\n")
        if newline or (self._ended and line):
            self._rest = rest
            # Some programs end a line with a carriage return and a newline.
            self._take(line.removesuffix(b"\r"))
            self._number, self._begun, self._split = self._number + 1, False, False
            return True
        if len(line) > MAX_TEXT + 1:
            cut = _whole(line)
            self._rest = line[cut:]
            self._take(line[:cut])
            return True
        return False

    def _take(self, data: bytes) -> None:
        remark = None
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode(errors="replace")
            remark = "is not UTF-8: wrong bytes are sent as \ufffd"
        for part in _parts(text):
            if self._begun and not part:
                continue  # The line ended just where it was cut.
            if self._begun and not self._split:
                self._split = True
                remark = f"has more than {MAX_TEXT} bytes: it is sent as several messages"
            self._begun = True
            self._texts.append(Text(self._number, part, remark))
            remark = None


def _parts(text: str) -> Iterator[str]:
    """Yield the text in parts that can be posted."""
    data = text.encode()
    while len(data) > MAX_TEXT:
        cut = _whole(data)
        yield data[:cut].decode()
        data = data[cut:]
    yield data.decode()


def _whole(data: bytes) -> int:
    """Return the number of bytes of the longest part that can be posted and cuts no character of UTF-8."""
    cut = MAX_TEXT
    while cut > MAX_TEXT - 3 and data[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


@dataclass
class _Post:
    number: int
    future: Future[Message]
    since: float  # monotonic, in seconds


def enter(session: Chat, room: str) -> Room:
    """Join the room, and wait for a room log that is away for a while; raises as `Chat.join` does."""
    deadline = time.monotonic() + _ACKNOWLEDGED
    told = False
    while True:
        try:
            return session.join(room)
        except NodeError as error:
            if error.retry_after is None or time.monotonic() + error.retry_after > deadline:
                raise
            if not told:
                print_error(f"cannot send yet: {error}")
                told = True
            time.sleep(error.retry_after)


class Sender:
    """Posts all texts of a source in a room."""

    def __init__(self, room: Room, source: Source) -> None:
        self._room = room
        self._source = source
        self._under_way: deque[_Post] = deque()
        self._lost: set[int] = set()
        self._changed: set[int] = set()
        self._told: str | None = None  # the reason reported last why messages wait

    def run(self) -> None:
        """Post all texts; raises ParlourError at the end if one was lost or changed."""
        last = 0
        while True:
            self._account()
            if len(self._under_way) >= WINDOW:
                self._wait()
                continue
            try:
                text = self._source.read(_TICK)
            except EOFError:
                break
            if text is None:
                self._explain()
                continue
            last = text.number
            if text.remark is not None:
                print_error(f"{self._source.noun} {text.number} {text.remark}")
                self._changed.add(text.number)
            self._under_way.append(_Post(text.number, self._post(text.text), time.monotonic()))
        while self._under_way:
            self._wait()
            self._account()
        self._conclude(last)

    def _post(self, text: str) -> Future[Message]:
        try:
            return self._room.post(text, _ACKNOWLEDGED)
        except ParlourError as error:
            failed: Future[Message] = Future()
            failed.set_exception(error)
            return failed

    def _wait(self) -> None:
        """Wait a little for the oldest message."""
        wait_for([self._under_way[0].future], _TICK)
        self._explain()

    def _account(self) -> None:
        """Remove the messages that have an outcome, and report the lost ones."""
        lost: dict[str, list[int]] = {}
        while self._under_way and self._under_way[0].future.done():
            post = self._under_way.popleft()
            error = post.future.exception()
            if error is not None:
                lost.setdefault(_reason(error), []).append(post.number)
        for reason, numbers in lost.items():
            self._lost.update(numbers)
            first, last, noun = numbers[0], numbers[-1], self._source.noun
            named = f"{noun} {first}" if first == last else f"{noun}s {first} to {last}"
            print_error(f"{named} {reason}")

    def _explain(self) -> None:
        """Report why messages wait, after a while, and when none waits any more."""
        if not (self._under_way and time.monotonic() - self._under_way[0].since >= _EXPLAINED):
            if self._told is not None:
                print_error("no message waits any more")
                self._told = None
            return
        # After the first report a missing answer is no news, as the message may be logged at this moment.
        trouble = self._room.trouble or self._told or "there is no answer yet"
        if trouble != self._told:
            print_error(f"{self._source.noun} {self._under_way[0].number} is not sent yet: {trouble}")
            self._told = trouble

    def _conclude(self, total: int) -> None:
        noun = self._source.noun
        told = []
        if self._lost:
            told.append(f"{len(self._lost)} of {total} {noun}s {'was' if len(self._lost) == 1 else 'were'} not sent")
        if changed := self._changed - self._lost:
            told.append(f"{len(changed)} of {total} {noun}s {'was' if len(changed) == 1 else 'were'} sent, but changed")
        if told:
            raise ParlourError(f"{', '.join(told)}: see the lines above")


def _reason(error: BaseException) -> str:
    if isinstance(error, DeadlineError | DisconnectedError):
        return f"may not have been sent: {error}"
    return f"could not be sent: {error}"
