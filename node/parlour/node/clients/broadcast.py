"""Broadcast: the same bytes to many sockets with one system call, by a ring that is shared with the kernel (io_uring).

This module owns the rings, and all direct calls of the kernel; any thread may send. It must never wait for a peer, and
without rings it must do the same with one send for each socket.

The layout of a ring: https://man7.org/linux/man-pages/man7/io_uring.7.html
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

__all__ = ["MAX_SENDS", "RINGS", "Broadcast", "send"]

MAX_SENDS = 128
"""Sends in one system call, at most: a power of two, and so few that they end within half a millisecond."""

MIN_SOCKETS = 6
"""Sockets for which a ring pays, at least: it costs about four microseconds itself."""

RINGS = 64
"""Rings, at most, of 16 KiB each: one for each thread that sends, or that waits to continue after a send."""

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

# The kernel's numbers, which are the same on every architecture that Python 3.11 runs on.
_SETUP, _ENTER = 425, 426
_OP_SEND = 26
_GETEVENTS = 1
_OFF_SQES = 0x10000000
_WRAP = 2**32 - 1

_syscall = ctypes.CDLL(None, use_errno=True).syscall


def send(sock: socket.socket, data: bytes | memoryview) -> int:
    """Send without waiting; return the number of bytes sent, or the negative error number (-EAGAIN: try later)."""
    try:
        return sock.send(data, _FLAGS)
    except OSError as error:
        return -(error.errno or errno.EIO)


def _send_each(sockets: Sequence[socket.socket], data: bytes) -> list[int]:
    return [send(sock, data) for sock in sockets]


class _IoUring:
    """One ring, used by one thread at a time: each call puts requests in, and takes all results out.

    So the two queues, of requests (sq) and of results (cq), always have the same position, which counts up and wraps at
    32 bits.
    """

    def __init__(self) -> None:
        """Open a ring; raises OSError if the kernel does not offer or permit it."""
        parameters = array("I", bytes(120))  # struct io_uring_params
        self._fd: int = _syscall(_SETUP, MAX_SENDS, ctypes.c_void_p(parameters.buffer_info()[0]))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._resources = contextlib.ExitStack()
        self._resources.callback(os.close, self._fd)
        try:
            self._map_queues(parameters[1], parameters[10:20], parameters[20:30])
        except BaseException:
            self.close()
            raise

    def _map_queues(self, results: int, sq: array[int], cq: array[int]) -> None:
        """Map the memory that the kernel shares; `results` is the length of `cq`, the other two hold byte offsets."""
        shared = self._map(max(sq[6] + 4 * MAX_SENDS, cq[5] + 16 * results), 0)
        entries = self._map(64 * MAX_SENDS, _OFF_SQES)
        self._sq_tail = self._view(shared[sq[1] :][:4], "I")
        self._cq_head = self._view(shared[cq[0] :][:4], "I")
        self._cq_tail = self._view(shared[cq[1] :][:4], "I")
        self._cqes = self._view(shared[cq[5] :][: 16 * results], "i")
        self._sqe_words, self._sqe_longs = self._view(entries, "I"), self._view(entries, "Q")
        self._view(shared[sq[6] :][: 4 * MAX_SENDS], "I")[:] = array("I", range(MAX_SENDS))
        # These parts of an entry never change: send, do not wait, and give the result the entry's number.
        self._sqe_words[0::16] = array("I", [_OP_SEND]) * MAX_SENDS
        self._sqe_words[7::16] = array("I", [_FLAGS]) * MAX_SENDS
        self._sqe_longs[4::8] = array("Q", range(MAX_SENDS))

    def _map(self, size: int, offset: int) -> memoryview:
        shared = self._resources.enter_context(mmap.mmap(self._fd, size, offset=offset))
        return self._resources.enter_context(memoryview(shared))

    def _view(self, part: memoryview, kind: Literal["I", "Q", "i"]) -> memoryview:
        return self._resources.enter_context(part.cast(kind))

    def send(self, sockets: Sequence[socket.socket], data: bytes) -> list[int]:
        """Send to each socket, and return for each what the function `send` returns."""
        results: list[int] = []
        while len(results) < len(sockets):
            rest = sockets[len(results) :]
            results += self.submit(rest, data) or _send_each(rest, data)
        return results

    def submit(self, sockets: Sequence[socket.socket], data: bytes) -> list[int]:
        """Send to the first sockets, up to the end of the ring, and to none if the kernel lacks memory."""
        at = self._sq_tail[0]
        first = at % MAX_SENDS
        sockets = sockets[: MAX_SENDS - first]
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
            # Only now it matters which result belongs to which socket: results may come in any order.
            numbers = self._cqes[begin : begin + 4 * count : 4].tolist()
            results = [result for _, result in sorted(zip(numbers, results, strict=True))]
        self._sq_tail[0] = self._cq_head[0] = at + count & _WRAP
        return results

    def close(self) -> None:
        """Give the ring back to the kernel."""
        self._resources.close()


def _open_tested() -> _IoUring:
    """Open a ring and send a byte with it; raises OSError if that fails."""
    ring = _IoUring()
    near, far = socket.socketpair()
    with near, far:
        if ring.submit([near], b".") == [1]:
            return ring
    ring.close()
    raise OSError(errno.ENOTSUP, "it needs Linux 5.6 or later, and permission to use it")


class Broadcast:
    """Sends to many sockets at once; all threads may use it at the same time.

    Each single send releases the interpreter, to threads that make batches smaller. In a room of 100 members that all
    answer each other, rings carry 1.8 times as many posts; in a room that is not busy, a delivery costs an eighth less.
    """

    def __init__(self, rings: int = RINGS) -> None:
        """Use at most so many rings, opened when first needed; `unavailable_reason` tells why there are none."""
        # A ring that is not open yet is None. A deque's own append and pop need no lock.
        self._free: deque[_IoUring | None] = deque([None] * rings)
        self.unavailable_reason = ""
        if rings:
            try:
                self._free[-1] = _open_tested()
            except OSError as error:
                self._free.clear()
                self.unavailable_reason = error.strerror or "unknown"

    def send(self, sockets: Sequence[socket.socket], data: bytes) -> list[int]:
        """Send the data to each socket, and return for each what `send` returns. No socket may be closed meanwhile."""
        ring = self._take() if len(sockets) >= MIN_SOCKETS else None
        if ring is None:
            return _send_each(sockets, data)
        try:
            return ring.send(sockets, data)
        finally:
            self._free.append(ring)

    def _take(self) -> _IoUring | None:
        """Take a free ring and open it if needed; return None if all are in use or no more can be opened."""
        try:
            ring = self._free.pop()
        except IndexError:
            return None
        try:
            return ring or _IoUring()
        except OSError:
            self._free.append(None)
            return None

    def close(self) -> None:
        """Close the rings; later calls send to one socket at a time."""
        while self._free:
            ring = self._free.pop()
            if ring is not None:
                ring.close()
