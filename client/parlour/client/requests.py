"""The requests of an application in one room that wait for an answer: to join, to leave, for members, for old messages.

This module owns the futures of these requests. It is pure: the room calls it under the room's lock, and resolves the
futures that it returns after that. It must never return the same future twice.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any, TypeVar

from parlour.client.errors import DeadlineError
from parlour.client.waiting import is_done
from parlour.wire import messages as wire
from parlour.wire.errors import ParlourError

__all__ = ["Requests", "await_answer", "fail"]

T = TypeVar("T")


class Requests:
    """The requests in one room that are not answered.

    Attributes:
        joining: done when the room is joined, or cannot be.
        joining_open: whether no thread has taken `joining` to resolve it.
        leaving: done when the room is left; None while the application is not leaving.
    """

    def __init__(self) -> None:
        self.joining: Future[None] = Future()
        self.joining_open = True
        self.leaving: Future[None] | None = None
        self._who: list[Future[list[str]]] = []
        self._pages: dict[Future[wire.Page], wire.History] = {}

    def ask_who(self) -> Future[list[str]]:
        """Return a future of the members."""
        question: Future[list[str]] = Future()
        self._who.append(question)
        return question

    def ask_page(self, history: wire.History) -> Future[wire.Page]:
        """Return a future of a page of history."""
        page: Future[wire.Page] = Future()
        self._pages[page] = history
        return page

    def drop(self, question: Future[Any]) -> None:
        """Forget a question that no thread waits for any more."""
        self._pages.pop(question, None)
        if question in self._who:
            self._who.remove(question)

    def open_questions(self, room: str) -> list[wire.ClientMessage]:
        """Return the messages that ask the questions that are not answered."""
        return [*([wire.Who(room)] if self._who else []), *self._pages.values()]

    def leave(self) -> Future[None]:
        """Return the future of the leaving, which may be under way already."""
        self.leaving = self.leaving or Future()
        return self.leaving

    def take_joining(self) -> Future[None] | None:
        """Return the future of the joining for the caller to resolve; None if another thread has it."""
        is_open, self.joining_open = self.joining_open, False
        return self.joining if is_open else None

    def take_leaving(self) -> Future[None] | None:
        """Return the future of the leaving for the caller to resolve; None if the application is not leaving."""
        leaving, self.leaving = self.leaving, None
        return leaving

    def take_who(self) -> list[Future[list[str]]]:
        """Return the questions for the members, for the caller to answer."""
        asked, self._who = self._who, []
        return asked

    def take_pages(self, before: int) -> list[Future[wire.Page]]:
        """Return the questions for the page before this offset, for the caller to answer."""
        asked = [question for question, history in self._pages.items() if history.before == before]
        for question in asked:
            del self._pages[question]
        return asked

    def take_all(self) -> list[Future[Any]]:
        """Return all requests except the leaving, which no error prevents, for the caller to resolve."""
        joining = self.take_joining()
        asked: list[Future[Any]] = [*self._who, *self._pages, *([] if joining is None else [joining])]
        self._who, self._pages = [], {}
        return asked


def fail(futures: list[Future[Any]], error: ParlourError) -> None:
    """Make all of these futures raise the error."""
    for future in futures:
        future.set_exception(error)


def await_answer(future: Future[T], what: str, timeout: float) -> T:
    """Return a node's answer. Raises DeadlineError, which names `what` was asked for, after `timeout` seconds."""
    if not is_done(future, time.monotonic() + timeout):
        raise DeadlineError(f"{what}: the node did not answer within {timeout:.3g} s")
    return future.result()
