"""The latest assignments, by the client's name and by the room that it asked for: `why` answers from them.

This module owns that memory. It is pure and belongs to the one thread that runs its balancer. It must never hold more
than its bounds, whatever the number of names and rooms.
"""

from __future__ import annotations

from collections import OrderedDict

from parlour.broker.assignment import Assignment
from parlour.wire.control import Decision
from parlour.wire.limits import check_name

__all__ = ["DecisionHistory"]

_Shelf = OrderedDict[str, tuple[tuple[int, Assignment], ...]]


class DecisionHistory:
    """The latest `each` assignments of each of the last `subjects` names, and of as many rooms."""

    def __init__(self, subjects: int, each: int) -> None:
        self._subjects = subjects
        self._each = each
        self._count = 0
        self._names: _Shelf = OrderedDict()
        self._rooms: _Shelf = OrderedDict()

    def add(self, assignment: Assignment) -> None:
        """Remember the assignment, and forget the oldest beyond the bounds."""
        self._count += 1
        self._put(self._names, assignment.name, assignment)
        if assignment.room is not None:
            self._put(self._rooms, assignment.room, assignment)

    def find(self, subject: str) -> list[Decision]:
        """Return the decisions about a client or room, newest first; raises UsageError if `subject` is no name."""
        subject = check_name(subject)
        found = {**dict(self._names.get(subject, ())), **dict(self._rooms.get(subject, ()))}
        return [found[count].decision() for count in sorted(found, reverse=True)]

    def __len__(self) -> int:
        return len(self._names) + len(self._rooms)

    def _put(self, shelf: _Shelf, subject: str, assignment: Assignment) -> None:
        kept = shelf.pop(subject, ())
        shelf[subject] = (*kept, (self._count, assignment))[-self._each :]
        if len(shelf) > self._subjects:
            shelf.popitem(last=False)
