"""The catch-up of members that fell behind or have just joined, from the ring or from the log.

This module owns the catch-up thread, which waits until a slow client's socket takes bytes again; a joining client runs
`catch_up` on its own thread first. It must never delay live delivery: it works on lagging writers alone.
"""

from __future__ import annotations

import select
import time
from collections import deque

from parlour.node.clients.writer import ConnectionWriter
from parlour.node.log import LogError
from parlour.runtime.threads import Service

__all__ = ["BATCHES_PER_TURN", "CatchUp", "catch_up"]

BATCHES_PER_TURN = 64
"""Batches sent to one client before the catch-up thread looks at the others."""

RETRY = 0.2
"""Seconds until a log that failed is read again."""


def catch_up(writer: ConnectionWriter, turns: int) -> bool:
    """Send the members of the writer their missing messages, at most `turns` rounds; return whether it is live again.

    Raises LogError if the log cannot be read now.
    """
    for _ in range(turns):
        behind = [member for member in writer.members if member.behind]
        if not behind and writer.flush() and writer.go_live():
            return True
        failure: LogError | None = None
        # The members take turns: neither a room that is too busy for the client, nor one that cannot be read now, may
        # keep the other rooms waiting.
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
    """The catch-up thread of a node. It alone uses the epoll object; other threads give it writers through a queue."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._arrived: deque[ConnectionWriter] = deque()
        self._watched: dict[int, ConnectionWriter] = {}
        self._retry: dict[ConnectionWriter, float] = {}

    @property
    def lagging(self) -> int:
        """The number of connections that read too slowly now."""
        return len(self._watched)

    def watch(self, writer: ConnectionWriter) -> None:
        """Bring a lagging writer up to date as its socket allows, or drop it if it is closed. Never blocks."""
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
                    self._register(epoll, self._arrived.popleft())
                now = time.monotonic()
                for writer in [writer for writer, due in self._retry.items() if due <= now]:
                    del self._retry[writer]
                    self._register(epoll, writer)

    def _poll_timeout(self) -> float | None:
        return max(0.0, min(self._retry.values()) - time.monotonic()) if self._retry else None

    def _register(self, epoll: select.epoll, writer: ConnectionWriter) -> None:
        fd = writer.transport.socket.fileno()
        if writer.closed or fd < 0:
            # The socket may be closed already, and another may have its number: look for the writer itself.
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
            # The socket was closed just now, or the system has no room for it: try again.
            self._retry[writer] = time.monotonic() + RETRY
            return
        self._watched[fd] = writer

    def _drop(self, epoll: select.epoll, fd: int) -> None:
        del self._watched[fd]
        try:
            epoll.unregister(fd)
        except (OSError, ValueError):
            pass  # the closing of the socket has removed it already

    def _serve(self, epoll: select.epoll, fd: int, writer: ConnectionWriter) -> None:
        try:
            live = catch_up(writer, BATCHES_PER_TURN)
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
