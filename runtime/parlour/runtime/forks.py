"""Objects and sockets of one process: a child of `os.fork()` must neither use nor close those of its parent.

This module owns the count of forks and the list of sockets that a child closes; any thread may call it. Its hook runs
in each child, on the thread that forked. It must never take a lock: another thread may have held it at the fork.
"""

from __future__ import annotations

import os
import socket
from typing import ClassVar, NoReturn, Self, SupportsIndex
from weakref import WeakSet

from parlour.wire.errors import UsageError

__all__ = ["ProcessBound", "close_in_children", "fork_count"]

_forks = 0
"""How many forks led to this process. A process id does not serve, because the system reuses ids."""

_sockets: WeakSet[socket.socket] = WeakSet()


class ProcessBound:
    """Base class of objects that work only in the process that made them, and cannot be copied or pickled.

    Their public methods call `check_process` before they take a lock.
    """

    kind: ClassVar[str]
    """What the object is, in a word such as "chat"."""
    advice: ClassVar[str]
    """What to do in the other process instead."""

    _made_at: int

    def __new__(cls, *_: object, **__: object) -> Self:
        """Make the object and note the process."""
        made = super().__new__(cls)
        made._made_at = _forks
        return made

    @property
    def inherited(self) -> bool:
        """Whether this process is a forked child of the one that made the object."""
        return self._made_at != _forks

    def check_process(self) -> None:
        """Raise UsageError in a forked child of the process that made the object."""
        if self._made_at != _forks:
            raise UsageError(
                f"this {self.kind} belongs to the parent process, and this process is a forked child: {self.advice}"
            )

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse copy.copy, copy.deepcopy and pickle."""
        raise UsageError(f"a {self.kind} cannot be copied, pickled or sent to another process: {self.advice}")


def fork_count() -> int:
    """Return how many forks led to this process: an object made at another count belongs to a parent."""
    return _forks


def close_in_children(opened: socket.socket) -> None:
    """Have each forked child close its copy of this socket, which does not end the connection.

    So the connection ends with this process even if a child lives on, and the child cannot write to it.
    """
    _sockets.add(opened)


def _enter_child() -> None:
    global _forks
    _forks += 1
    for each in list(_sockets):
        try:
            each.close()
        except OSError:
            pass
    _sockets.clear()


os.register_at_fork(after_in_child=_enter_child)
