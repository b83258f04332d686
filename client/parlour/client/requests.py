"""What an application waits to be told in one room: that it is in or out, who is here, and old messages.

This module owns the futures of these requests. It is pure: the room calls it under the room's lock, and resolves the
futures that it gives back after that. It must never give back the same future twice.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any, TypeVar

from parlour.client.errors import DeadlineError
from parlour.client.patience import is_done
from parlour.wire import messages as wire
from parlour.wire.errors import ParlourError

__all__ = ["Requests", "await_answer", "fail"]

T = TypeVar("T")


class Requests:
    """The requests in one room that are not answered.

    Attributes:
        entering: done when the room is joined, or cannot be.
        entering_open: whether nobody has taken it upon himself to resolve `entering`.
        parting: done when the room is left; None while nobody leaves.
    """

    def __init__(self) -> None:
        self.entering: Future[None] = Future()
        self.entering_open = True
        self.parting: Future[None] | None = None
        self._who: list[Future[list[str]]] = []
        self._pages: dict[Future[wire.Page], wire.History] = {}

    def ask_who(self) -> Future[list[str]]:
        """Return a future of who is here."""
        question: Future[list[str]] = Future()
        self._who.append(question)
        return question

    def ask_page(self, history: wire.History) -> Future[wire.Page]:
        """Return a future of a page of history."""
        page: Future[wire.Page] = Future()
        self._pages[page] = history
        return page

    def drop(self, question: Future[Any]) -> None:
        """Forget a question that nobody waits for any more."""
        self._pages.pop(question, None)
        if question in self._who:
            self._who.remove(question)

    def open_questions(self, room: str) -> list[wire.ClientMessage]:
        """Return the messages that ask what is not answered."""
        return [*([wire.Who(room)] if self._who else []), *self._pages.values()]

    def part(self) -> Future[None]:
        """Return the future of the leaving, which may be under way already."""
        self.parting = self.parting or Future()
        return self.parting

    def take_entering(self) -> Future[None] | None:
        """Return the future of the joining for the caller to resolve; None if another has it."""
        is_open, self.entering_open = self.entering_open, False
        return self.entering if is_open else None

    def take_parting(self) -> Future[None] | None:
        """Return the future of the leaving for the caller to resolve, if somebody leaves."""
        parting, self.parting = self.parting, None
        return parting

    def take_who(self) -> list[Future[list[str]]]:
        """Return the questions who is here, for the caller to answer."""
        asked, self._who = self._who, []
        return asked

    def take_pages(self, before: int) -> list[Future[wire.Page]]:
        """Return the questions for the page before this offset, for the caller to answer."""
        asked = [question for question, history in self._pages.items() if history.before == before]
        for question in asked:
            del self._pages[question]
        return asked

    def take_all(self) -> list[Future[Any]]:
        """Return all but the leaving, which no error keeps an application from, for the caller to resolve."""
        entering = self.take_entering()
        asked: list[Future[Any]] = [*self._who, *self._pages, *([] if entering is None else [entering])]
        self._who, self._pages = [], {}
        return asked


def fail(futures: list[Future[Any]], error: ParlourError) -> None:
    """Have all of them raise the error."""
    for future in futures:
        future.set_exception(error)


def await_answer(future: Future[T], what: str, timeout: float) -> T:
    """Return the answer of a node; raises DeadlineError, which names what was asked for, after `timeout` seconds."""
    if not is_done(future, time.monotonic() + timeout):
        raise DeadlineError(f"{what}: the node did not answer within {timeout:.3g} s")
    return future.result()
