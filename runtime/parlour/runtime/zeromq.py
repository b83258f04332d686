"""ZeroMQ contexts, made only where there is room for them: libzmq ends the whole process if a file is missing.

This module owns the one context of a process that its questions and feeds share, and the look at the open files that
are left; any thread may call it. It must never make a context, or let one start, without that look.
"""

from __future__ import annotations

import errno

import zmq

from parlour.runtime.descriptors import can_open
from parlour.runtime.forks import fork_count
from parlour.wire.errors import UnavailableError

__all__ = ["Context", "new_context", "new_socket", "shared_context"]

Context = zmq.Context[zmq.Socket[bytes]]

_START = 8
"""Open files that the start of a context needs (five), and some for others that open files at that moment."""

_EACH = 4
"""Open files that a socket needs, with its connection and the look-up of a name."""

_SOCKETS = 16_384
"""Sockets that may be open at a time: one for each question of this process, and the feeds."""

_shared: dict[int, Context] = {}
"""The shared context, by the count of forks: a child needs its own, and must not end its parent's."""


def new_context(sockets: int) -> Context:
    """Return a context that has started, for so many sockets; the caller ends it.

    Raises UnavailableError if the process may not open as many files.
    """
    _check_room(_START + _EACH * sockets)
    return _started(zmq.Context())


def shared_context() -> Context:
    """Return the context of this process, which stays; raises UnavailableError as `new_context` does."""
    context = _shared.get(fork_count())
    if context is not None:
        return context
    _check_room(_START + _EACH)
    mine = zmq.Context()
    mine.max_sockets = _SOCKETS
    first = _shared.setdefault(fork_count(), _started(mine))
    if first is not mine:
        mine.term()  # Another thread was quicker.
    return first


def new_socket(context: Context, kind: int) -> zmq.Socket[bytes]:
    """Return a new socket, the calling thread's, of a context that has started; raises UnavailableError as above."""
    _check_room(_EACH)
    try:
        return context.socket(kind)
    except zmq.ZMQError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise _no_room() from None
        raise


def _started(context: Context) -> Context:
    """Have a new context start now, and not in a moment when there is no room."""
    new_socket(context, zmq.PAIR).close()
    return context


def _check_room(files: int) -> None:
    if not can_open(files):
        raise _no_room()


def _no_room() -> UnavailableError:
    return UnavailableError("too many open files to ask a broker: raise `ulimit -n`, or have fewer files open")
