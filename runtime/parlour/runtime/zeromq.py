"""ZeroMQ contexts, made only if the process may open enough files: without them libzmq ends the whole process.

This module owns the one context that a process's requests and feeds share, and the check for free file descriptors;
any thread may call it. It must never make a context, nor let one start, without that check.
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
"""Open files that a context needs to start (five), and some for other threads that open files at that moment."""

_EACH = 4
"""Open files that a socket needs, including its connection and the look-up of a name."""

_SOCKETS = 16_384
"""Sockets that may be open at once: one for each request of this process, and the feeds."""

_shared: dict[int, Context] = {}
"""The shared context by the count of forks: a child needs its own, and must not end its parent's."""


def new_context(sockets: int) -> Context:
    """Return a started context with room for this many sockets; the caller ends it.

    Raises UnavailableError if the process may not open enough files.
    """
    _check_room(_START + _EACH * sockets)
    return _started(zmq.Context())


def shared_context() -> Context:
    """Return the context of this process, which never ends; raises UnavailableError like `new_context`."""
    context = _shared.get(fork_count())
    if context is not None:
        return context
    _check_room(_START + _EACH)
    try:
        mine = zmq.Context()
    except zmq.ZMQError:
        raise _no_room() from None  # other threads were faster to open files
    mine.max_sockets = _SOCKETS
    first = _shared.setdefault(fork_count(), _started(mine))
    if first is not mine:
        mine.term()  # Another thread was faster.
    return first


def new_socket(context: Context, kind: int) -> zmq.Socket[bytes]:
    """Return a new socket of a started context, for the calling thread; raises UnavailableError like `new_context`."""
    _check_room(_EACH)
    try:
        return context.socket(kind)
    except zmq.ZMQError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise _no_room() from None
        raise


def _started(context: Context) -> Context:
    """Start a new context now, while there is room for its files."""
    new_socket(context, zmq.PAIR).close()
    return context


def _check_room(files: int) -> None:
    if not can_open(files):
        raise _no_room()


def _no_room() -> UnavailableError:
    return UnavailableError("cannot ask a broker, too many files are open: raise `ulimit -n`, or open fewer files")
