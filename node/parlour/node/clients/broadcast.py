"""The same bytes to many sockets, with one system call: a ring of requests that the kernel shares with us (io_uring).

This module owns the rings, and all that is asked of the kernel without Python's own modules. It must never wait for
a peer, and must do the same, a send at a time, where the kernel does not offer rings or does not let us have them.

What a ring looks like: https://man7.org/linux/man-pages/man7/io_uring.7.html
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import socket
from array import array
from collections import deque
from collections.abc import Sequence
from typing import Literal

__all__ = ["RINGS", "TOGETHER", "Broadcast", "send"]

TOGETHER = 128
"""Sends that one system call makes at most: a power of two, and small enough to be over in half a millisecond."""

FEW = 6
"""Sockets from which on a ring is worth its own cost, some four microseconds."""

RINGS = 64
"""Rings at most, of 16 KiB each: one for every thread that sends at the same time, or waits to go on after it."""

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

# The kernel's numbers, the same for every architecture that Python 3.11 runs on.
_SETUP, _ENTER = 425, 426
_OP_SEND = 26
_GETEVENTS = 1
_OFF_SQES = 0x10000000
_WRAP = 2**32 - 1

_syscall = ctypes.CDLL(None, use_errno=True).syscall


def send(sock: socket.socket, data: bytes | memoryview) -> int:
    """Send without waiting; return how many bytes went, or the error's number below zero (-EAGAIN: none goes now)."""
    try:
        return sock.send(data, _FLAGS)
    except OSError as error:
        return -(error.errno or errno.EIO)


def _one_by_one(sockets: Sequence[socket.socket], data: bytes) -> list[int]:
    return [send(sock, data) for sock in sockets]


class _Ring:
    """One ring, used by one thread at a time: each call puts requests in, and takes all results out.

    So its two queues, of requests (sq) and of results (cq), always stand at the same place, which counts on for ever
    and wraps at 32 bits.
    """

    def __init__(self) -> None:
        """Open a ring; raises OSError where the kernel does not offer it or does not let us have it."""
        told = array("I", bytes(120))  # struct io_uring_params
        self._fd: int = _syscall(_SETUP, TOGETHER, ctypes.c_void_p(told.buffer_info()[0]))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._opened = contextlib.ExitStack()
        self._opened.callback(os.close, self._fd)
        try:
            self._lay_out(told[1], told[10:20], told[20:30])
        except BaseException:
            self.close()
            raise

    def _lay_out(self, results: int, sq: array[int], cq: array[int]) -> None:
        """Find what is shared with the kernel, which told how many results have place, and where things stand."""
        shared = self._map(max(sq[6] + 4 * TOGETHER, cq[5] + 16 * results), 0)
        entries = self._map(64 * TOGETHER, _OFF_SQES)
        self._sq_tail = self._view(shared[sq[1] :][:4], "I")
        self._cq_head = self._view(shared[cq[0] :][:4], "I")
        self._cq_tail = self._view(shared[cq[1] :][:4], "I")
        self._cqes = self._view(shared[cq[5] :][: 16 * results], "i")
        self._sqe_words, self._sqe_longs = self._view(entries, "I"), self._view(entries, "Q")
        self._view(shared[sq[6] :][: 4 * TOGETHER], "I")[:] = array("I", range(TOGETHER))
        # What never changes in an entry: send, without waiting; and the result is to have the entry's number.
        self._sqe_words[0::16] = array("I", [_OP_SEND]) * TOGETHER
        self._sqe_words[7::16] = array("I", [_FLAGS]) * TOGETHER
        self._sqe_longs[4::8] = array("Q", range(TOGETHER))

    def _map(self, size: int, offset: int) -> memoryview:
        shared = self._opened.enter_context(mmap.mmap(self._fd, size, offset=offset))
        return self._opened.enter_context(memoryview(shared))

    def _view(self, part: memoryview, kind: Literal["I", "Q", "i"]) -> memoryview:
        return self._opened.enter_context(part.cast(kind))

    def send(self, sockets: Sequence[socket.socket], data: bytes) -> list[int]:
        """Send to each socket, and return what `send` returns for it."""
        results: list[int] = []
        while len(results) < len(sockets):
            rest = sockets[len(results) :]
            results += self.submit(rest, data) or _one_by_one(rest, data)
        return results

    def submit(self, sockets: Sequence[socket.socket], data: bytes) -> list[int]:
        """Send to the first of the sockets: up to the end of the ring, and to none if the kernel lacks the memory."""
        at = self._sq_tail[0]
        first = at % TOGETHER
        sockets = sockets[: TOGETHER - first]
        count = len(sockets)
        end = first + count
        self._sqe_words[16 * first + 1 : 16 * end : 16] = array("I", map(socket.socket.fileno, sockets))
        self._sqe_words[16 * first + 6 : 16 * end : 16] = array("I", [len(data)]) * count
        address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
        self._sqe_longs[8 * first + 2 : 8 * end : 8] = array("Q", [address]) * count
        self._sq_tail[0] = at + count & _WRAP
        count = max(0, _syscall(_ENTER, self._fd, count, 0, 0, None, None))
        while (done := self._cq_tail[0] - at & _WRAP) < count:
            _syscall(_ENTER, self._fd, 0, count - done, _GETEVENTS, None, None)
        begin = 4 * at % len(self._cqes)
        results: list[int] = self._cqes[begin + 2 : begin + 4 * count : 4].tolist()
        if results.count(len(data)) < count:
            # Only now it matters which is whose: they need not come in order.
            whose = self._cqes[begin : begin + 4 * count : 4].tolist()
            results = [result for _, result in sorted(zip(whose, results, strict=True))]
        self._sq_tail[0] = self._cq_head[0] = at + count & _WRAP
        return results

    def close(self) -> None:
        """Give it back to the kernel."""
        self._opened.close()


def _proven() -> _Ring:
    """Open a ring that is known to send; raises OSError."""
    ring = _Ring()
    near, far = socket.socketpair()
    with near, far:
        if ring.submit([near], b".") == [1]:
            return ring
    ring.close()
    raise OSError(errno.ENOTSUP, "Linux 5.6 or later is needed, and leave to use it")


class Broadcast:
    """Sends to many at once; any thread may, and as many at the same time as there are.

    A send by itself gives up the interpreter each time, to threads that make batches smaller. In a room of 100 who all
    answer each other rings carry 1.8 times as many posts; in one that is not busy a delivery costs an eighth less.
    """

    def __init__(self, rings: int = RINGS) -> None:
        """Use at most so many rings, each opened when it is first needed; `hindrance` tells why there are none."""
        # Those not opened yet are None. A deque's own append and pop need no lock.
        self._free: deque[_Ring | None] = deque([None] * rings)
        self.hindrance = ""
        if rings:
            try:
                self._free[-1] = _proven()
            except OSError as error:
                self._free.clear()
                self.hindrance = error.strerror or "unknown"

    def send(self, sockets: Sequence[socket.socket], data: bytes) -> list[int]:
        """Send the data to each socket, and return what `send` returns for it. None may be closed meanwhile."""
        ring = self._take() if len(sockets) >= FEW else None
        if ring is None:
            return _one_by_one(sockets, data)
        try:
            return ring.send(sockets, data)
        finally:
            self._free.append(ring)

    def _take(self) -> _Ring | None:
        """Take a ring out, opened if need be; None if all are in use or no more are to be had now."""
        try:
            ring = self._free.pop()
        except IndexError:
            return None
        try:
            return ring or _Ring()
        except OSError:
            self._free.append(None)
            return None

    def close(self) -> None:
        """Close the rings; sends that come later are made one by one."""
        while self._free:
            ring = self._free.pop()
            if ring is not None:
                ring.close()
