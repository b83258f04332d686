"""The asks of a chat that wait for their answers: questions and changes besides posts and rooms.

This module owns their futures; any thread may ask, and the reader threads of connections resolve. It must never send an
ask twice: the node may have done it although its answer was lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from parlour.client.errors import DisconnectedError, NodeError, refusal
from parlour.client.requests import await_answer, fail
from parlour.runtime.locks import make_lock
from parlour.wire import messages as wire
from parlour.wire.asks import Answer, Ask
from parlour.wire.errors import ParlourError

__all__ = ["Asks"]

MOST = 100
"""Asks that may wait for an answer, at most."""


class Asks:
    """The asks of one chat."""

    def __init__(self, send: Callable[[wire.ClientMessage], bool]) -> None:
        """Send with a function that returns False if there is no connection now."""
        self._send = send
        self._numbers = itertools.count(1)
        # Guards _waiting. Rank 27.
        self._lock = make_lock(27, "asks")
        self._waiting: dict[int, Future[dict[str, Any]]] = {}

    def ask(self, what: str, data: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Ask the node and return its answer; raises NodeError, DisconnectedError, DeadlineError or UsageError."""
        answer: Future[dict[str, Any]] = Future()
        number = next(self._numbers)
        question = Ask(number, what, dict(data))
        with self._lock:
            if len(self._waiting) >= MOST:
                raise NodeError(f"{MOST} questions wait for answers: wait for some of them", "too_many_questions", 1.0)
            self._waiting[number] = answer
        try:
            if not self._send(question):
                raise DisconnectedError("there is no connection now: try again when it is back")
            return await_answer(answer, what, timeout)
        finally:
            self._take(number)

    def answered(self, message: Answer) -> None:
        """Take the answer to an ask."""
        if (waiting := self._take(message.ask)) is not None:
            waiting.set_result(message.data)

    def refused(self, error: wire.Error) -> None:
        """Take the refusal of an ask."""
        assert error.ask is not None
        if (waiting := self._take(error.ask)) is not None:
            waiting.set_exception(refusal(error))

    def fail(self, error: ParlourError) -> None:
        """Fail all asks that wait: their connection is gone."""
        with self._lock:
            waiting, self._waiting = list(self._waiting.values()), {}
        fail(waiting, error)

    def _take(self, number: int) -> Future[dict[str, Any]] | None:
        with self._lock:
            return self._waiting.pop(number, None)
