"""Bringing members up to date who fell behind or have just joined, from the ring or from the log.

This module owns the catch-up thread, which waits until a slow client's socket takes bytes again. Joining clients run
`catch_up` on their own thread first. It must never hold up live delivery: it works on outlets that are passed by.
"""

from __future__ import annotations

import select
import time
from collections import deque

from parlour.node.log import LogError
from parlour.node.outlet import Outlet
from parlour.runtime.threads import Service

__all__ = ["TURN", "CatchUp", "catch_up"]

TURN = 64
"""Batches sent to one client before the catch-up thread looks at the others."""

RETRY = 0.2
"""Seconds before a log that failed is read again."""


def catch_up(outlet: Outlet, turns: int) -> bool:
    """Send what the members of the outlet have missed, at most `turns` batches; return whether it is live again.

    Raises LogError if the log cannot be read now.
    """
    for _ in range(turns):
        behind = [member for member in outlet.members if member.behind]
        if not behind and outlet.flush() and outlet.go_live():
            return True
        failure: LogError | None = None
        # Each in its turn: neither a room that is busier than the client is quick nor one that cannot be read now
        # may keep the others from it.
        for member in behind:
            if not outlet.flush():
                return False
            epoch, offset = member.epoch, member.offset
            try:
                following = member.room.follow(member, epoch, offset)
            except LogError as error:
                failure = error
                continue
            if following is not None:
                outlet.push(member, epoch, offset, following)
        if failure is not None:
            raise failure
    return False


class CatchUp(Service):
    """The catch-up thread of a node. It alone uses the epoll object; other threads hand it outlets by a queue."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._arrived: deque[Outlet] = deque()
        self._watched: dict[int, Outlet] = {}
        self._retry: dict[Outlet, float] = {}

    @property
    def lagging(self) -> int:
        """How many connections read too slowly now."""
        return len(self._watched)

    def watch(self, outlet: Outlet) -> None:
        """Bring this outlet, which lags, up to date when its socket allows; drop it if it is closed. Never blocks."""
        self._arrived.append(outlet)
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
                    elif (outlet := self._watched.get(fd)) is not None:
                        self._serve(epoll, fd, outlet)
                while self._arrived:
                    self._take_in(epoll, self._arrived.popleft())
                now = time.monotonic()
                for outlet in [outlet for outlet, due in self._retry.items() if due <= now]:
                    del self._retry[outlet]
                    self._take_in(epoll, outlet)

    def _poll_timeout(self) -> float | None:
        return max(0.0, min(self._retry.values()) - time.monotonic()) if self._retry else None

    def _take_in(self, epoll: select.epoll, outlet: Outlet) -> None:
        fd = outlet.socket.fileno()
        if outlet.closed or fd < 0:
            # The socket may be closed already, its number even be another's: look for the outlet itself.
            self._retry.pop(outlet, None)
            for number, watched in list(self._watched.items()):
                if watched is outlet:
                    self._drop(epoll, number)
            return
        try:
            if self._watched.get(fd) is outlet:
                epoll.modify(fd, select.EPOLLOUT | select.EPOLLONESHOT)
            else:
                epoll.register(fd, select.EPOLLOUT | select.EPOLLONESHOT)
        except OSError:
            # Closed between the look and the call, or the system has no room for it now: look again.
            self._retry[outlet] = time.monotonic() + RETRY
            return
        self._watched[fd] = outlet

    def _drop(self, epoll: select.epoll, fd: int) -> None:
        del self._watched[fd]
        try:
            epoll.unregister(fd)
        except (OSError, ValueError):
            pass  # closing the socket has removed it already

    def _serve(self, epoll: select.epoll, fd: int, outlet: Outlet) -> None:
        try:
            live = catch_up(outlet, TURN)
        except LogError:
            self._drop(epoll, fd)
            self._retry[outlet] = time.monotonic() + RETRY
            return
        if live or outlet.closed:
            self._drop(epoll, fd)
        else:
            try:
                epoll.modify(fd, select.EPOLLOUT | select.EPOLLONESHOT)
            except OSError:
                del self._watched[fd]
