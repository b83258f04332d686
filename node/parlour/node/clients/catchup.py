"""Bringing members up to date who fell behind or have just joined, from the ring or from the log.

This module owns the catch-up thread, which waits until a slow client's socket takes bytes again. Joining clients run
`catch_up` on their own thread first. It must never hold up live delivery: it works on writers that are passed by.
"""

from __future__ import annotations

import select
import time
from collections import deque

from parlour.node.clients.writer import ConnectionWriter
from parlour.node.log import LogError
from parlour.runtime.threads import Service

__all__ = ["TURN", "CatchUp", "catch_up"]

TURN = 64
"""Batches sent to one client before the catch-up thread looks at the others."""

RETRY = 0.2
"""Seconds before a log that failed is read again."""


def catch_up(writer: ConnectionWriter, turns: int) -> bool:
    """Send what the members of the writer have missed, at most `turns` batches; return whether it is live again.

    Raises LogError if the log cannot be read now.
    """
    for _ in range(turns):
        behind = [member for member in writer.members if member.behind]
        if not behind and writer.flush() and writer.go_live():
            return True
        failure: LogError | None = None
        # Each in its turn: neither a room that is busier than the client is quick nor one that cannot be read now
        # may keep the others from it.
        for member in behind:
            if not writer.flush():
                return False
            epoch, offset = member.epoch, member.offset
            try:
                following = member.room.follow(member, epoch, offset)
            except LogError as error:
                failure = error
                continue
            if following is not None:
                writer.push(member, epoch, offset, following)
        if failure is not None:
            raise failure
    return False


class CatchUp(Service):
    """The catch-up thread of a node. It alone uses the epoll object; other threads hand it writers by a queue."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._arrived: deque[ConnectionWriter] = deque()
        self._watched: dict[int, ConnectionWriter] = {}
        self._retry: dict[ConnectionWriter, float] = {}

    @property
    def lagging(self) -> int:
        """How many connections read too slowly now."""
        return len(self._watched)

    def watch(self, writer: ConnectionWriter) -> None:
        """Bring this writer, which lags, up to date when its socket allows; drop it if it is closed. Never blocks."""
        self._arrived.append(writer)
        self.wake()

    def run(self) -> None:
        """Wait for writability and serve, until stopped."""
        with select.epoll() as epoll:
            epoll.register(self.wakeup, select.EPOLLIN)
            self.ready()
            while not self.stopping:
                for fd, _ in epoll.poll(self._poll_timeout()):
                    if fd == self.wakeup:
                        self.clear_wakeup()
                    elif (writer := self._watched.get(fd)) is not None:
                        self._serve(epoll, fd, writer)
                while self._arrived:
                    self._take_in(epoll, self._arrived.popleft())
                now = time.monotonic()
                for writer in [writer for writer, due in self._retry.items() if due <= now]:
                    del self._retry[writer]
                    self._take_in(epoll, writer)

    def _poll_timeout(self) -> float | None:
        return max(0.0, min(self._retry.values()) - time.monotonic()) if self._retry else None

    def _take_in(self, epoll: select.epoll, writer: ConnectionWriter) -> None:
        fd = writer.transport.socket.fileno()
        if writer.closed or fd < 0:
            # The socket may be closed already, its number even be another's: look for the writer itself.
            self._retry.pop(writer, None)
            for number, watched in list(self._watched.items()):
                if watched is writer:
                    self._drop(epoll, number)
            return
        try:
            if self._watched.get(fd) is writer:
                epoll.modify(fd, select.EPOLLOUT | select.EPOLLONESHOT)
            else:
                epoll.register(fd, select.EPOLLOUT | select.EPOLLONESHOT)
        except OSError:
            # Closed between the look and the call, or the system has no room for it now: look again.
            self._retry[writer] = time.monotonic() + RETRY
            return
        self._watched[fd] = writer

    def _drop(self, epoll: select.epoll, fd: int) -> None:
        del self._watched[fd]
        try:
            epoll.unregister(fd)
        except (OSError, ValueError):
            pass  # closing the socket has removed it already

    def _serve(self, epoll: select.epoll, fd: int, writer: ConnectionWriter) -> None:
        try:
            live = catch_up(writer, TURN)
        except LogError:
            self._drop(epoll, fd)
            self._retry[writer] = time.monotonic() + RETRY
            return
        if live or writer.closed:
            self._drop(epoll, fd)
        else:
            try:
                epoll.modify(fd, select.EPOLLOUT | select.EPOLLONESHOT)
            except OSError:
                del self._watched[fd]
