"""The writing side of one client's connection: it sends whole frames, never waits, and handles slow clients.

This module owns the socket's sending and the state "lagging"; any thread may write, under the writer's own mutex.
It must never block, mix two frames, or keep more for a slow client than the rest of one batch and its answers.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from parlour.dialects import Variant
from parlour.node.clients.broadcast import MAX_SENDS, Broadcast
from parlour.node.clients.transport import TcpTransport
from parlour.node.rooms.batch import Batch, Encoded, data_after
from parlour.node.rooms.member import NOWHERE, Member
from parlour.runtime.locks import make_lock
from parlour.wire.codec import frame
from parlour.wire.messages import Joined, Lagging

__all__ = ["ClientMember", "ConnectionWriter"]

_LAGGING = frame(Lagging())


class ConnectionWriter:
    """The sending of one connection.

    While `lagging`, live delivery passes the writer by. One thread brings its members up to date and then returns it to
    live delivery: the client's own thread if it joined a room, else the catch-up thread.
    """

    def __init__(
        self, transport: TcpTransport, unread_answers: int, on_lag: Callable[[ConnectionWriter], None]
    ) -> None:
        """Write to `transport`; `on_lag` is called, with the mutex held, when the client reads too slowly."""
        self.transport = transport
        self.variant: Variant | None = None  # the variant of the client's dialect, once known; None: frames
        self._unread_answers = unread_answers
        self._unread = 0  # bytes of answers in _pending
        self._on_lag = on_lag
        # Guards the socket's sending, _pending, _unread, lagging, closed, members and the members' offsets. Rank 40.
        self._mutex = make_lock(40, "writer")
        self._pending: deque[bytes | memoryview] = deque()
        self.lagging = False
        self.closed = False
        self.shown_out = False  # whether a room has shown a member out, and the session has not dropped it yet
        self.members: tuple[ClientMember, ...] = ()

    # --- live delivery ----------------------------------------------------------------------------------------

    @staticmethod
    def deliver(
        broadcast: Broadcast, members: Sequence[ClientMember], variant: Variant | None, batches: Sequence[Batch]
    ) -> tuple[int, int]:
        """Send each member the part of the batches that it lacks; return how many were not passed by, and their bytes.

        All members have this variant, and the batches follow each other.
        """
        before, last, delivered = batches[0].first - 1, batches[-1].last, 0
        data = bytes(data_after(batches, variant, before))
        size = len(data)
        waiting = members
        while waiting:
            ready: list[ClientMember] = []
            late: list[ClientMember] = []
            try:
                for member in waiting[:MAX_SENDS]:
                    writer = member.subscriber
                    # A wait for a mutex while others are held could be a deadlock: a busy writer comes later.
                    if not writer._mutex.acquire(not ready):
                        late.append(member)
                    elif member.offset == before and not writer.lagging and not writer.closed:
                        member.offset = last
                        ready.append(member)
                    else:
                        try:
                            delivered += writer._deliver_rest(member, batches)
                        finally:
                            writer._mutex.release()
                results = broadcast.send([member.subscriber.transport.socket for member in ready], data)
                if results.count(size) < len(ready):
                    for member, result in zip(ready, results, strict=True):
                        member.subscriber._keep_rest(data, member.subscriber._bytes_sent(result))
            finally:
                for member in ready:
                    member.subscriber._mutex.release()
            delivered += len(ready)
            waiting = (*late, *waiting[MAX_SENDS:])
        return delivered, delivered * size

    def _deliver_rest(self, member: ClientMember, batches: Sequence[Batch]) -> bool:
        """Deliver to a member that is not exactly where the batches begin, or lags. The caller holds the mutex."""
        if self.lagging or self.closed:
            return False
        if member.offset < batches[0].first - 1:
            self._fall_behind()
            return False
        if member.offset >= batches[-1].last:
            return False
        rest = data_after(batches, self.variant, member.offset)
        member.offset = batches[-1].last
        self._send(rest)
        return True

    def send_presence(self, member: ClientMember, presence: Encoded) -> None:
        """Send a presence frame; a lagging member gets the whole list instead, once it is up to date."""
        data = presence.data(self.variant)
        with self._mutex:
            if self.lagging or self.closed:
                member.missed_presence = True
            elif not member.left:
                self._send(data)

    def answer(self, frames: bytes | Encoded) -> None:
        """Send frames that the client asked for; cut a client off that leaves too many of them unread."""
        data = self._encoded(frames)
        with self._mutex:
            self._answer(data)

    def _encoded(self, frames: bytes | Encoded) -> bytes | memoryview:
        if isinstance(frames, Encoded):
            return frames.data(self.variant)
        return frames if self.variant is None else self.variant.encode(frames).data

    # --- catching up ------------------------------------------------------------------------------------------

    def flush(self) -> bool:
        """Send the pending data; return whether all of it was sent."""
        with self._mutex:
            while self._pending and not self.closed:
                data = self._pending.popleft()
                sent = self._send_now(data)
                if sent < len(data):
                    self._keep(data, sent, first=True)
                    return False
            self._unread = 0
            return not self.closed

    def push(self, member: ClientMember, epoch: str, offset: int, following: Sequence[Batch] | Joined) -> None:
        """Send a member the data after its position, unless the position or the pending data changed meanwhile."""
        data = b"" if isinstance(following, Joined) else data_after(following, self.variant, offset)
        with self._mutex:
            if (member.epoch, member.offset) != (epoch, offset) or self._pending or self.closed:
                return
            if isinstance(following, Joined):
                self._restart(member, following)
            else:
                member.offset = following[-1].last
                self._keep(data, self._send_now(data))

    def go_live(self) -> bool:
        """Return to live delivery if no member is behind and nothing is pending; return whether it did."""
        with self._mutex:
            if self._pending or any(member.behind for member in self.members):
                return False
            self.lagging = False
            missed = [member for member in self.members if member.missed_presence]
            for member in missed:
                member.missed_presence = False
        for member in missed:
            member.room.want_roster(member)
            member.room.combine_elsewhere()
        return True

    def restart(self, member: ClientMember, notice: Callable[[Member[Any], str, int], Joined | None]) -> None:
        """Send the member the notice of a new epoch or a trimmed log, and continue at the position that it names."""
        with self._mutex:
            # A held member is skipped: the thread that holds it sends the notice.
            if not self.closed and member.offset != NOWHERE:
                joined = notice(member, member.epoch, member.offset)
                if joined is not None:
                    self._restart(member, joined)

    def _restart(self, member: ClientMember, joined: Joined) -> None:
        member.epoch, member.offset = joined.epoch, joined.after
        self._send(self._encoded(frame(joined)))
        if not self.lagging and joined.after != joined.offset:
            self.lagging = True
            self._on_lag(self)

    # --- membership -------------------------------------------------------------------------------------------

    def enter(self, member: ClientMember) -> None:
        """Add a member that is not in live delivery yet."""
        with self._mutex:
            self.members += (member,)

    def leave(self, member: ClientMember) -> None:
        """Remove a member, and send nothing more of its room."""
        with self._mutex:
            self._remove(member)

    def _remove(self, member: Member[Any]) -> None:
        self.members = tuple(other for other in self.members if other is not member)
        member.offset = NOWHERE
        member.left = True

    def show_out(self, member: Member[Any], notice: bytes) -> None:
        """Remove a member that the room has removed, and send the frames that tell the client."""
        data = self._encoded(notice)
        with self._mutex:
            self._remove(member)
            self.shown_out = True
            self._answer(data)  # the client may answer this at once

    def hold(self, member: ClientMember) -> tuple[str, int]:
        """Send nothing more of the room until `release`; return the member's epoch and offset."""
        with self._mutex:
            offset, member.offset = member.offset, NOWHERE
            return member.epoch, offset

    def release(self, member: ClientMember, epoch: str, offset: int, notice: bytes) -> bool:
        """Send the notice, and continue after this offset; return whether the caller has to bring it up to date."""
        data = self._encoded(notice)
        with self._mutex:
            if member.left:
                return False  # the room has shown the member out meanwhile
            self._answer(data)
            member.epoch, member.offset = epoch, offset
            mine = not self.lagging
            self.lagging = True
            return mine

    # --- the end ----------------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """End the connection; the client's thread, which alone closes the socket, notices it and cleans up."""
        with self._mutex:
            self._close()

    def _close(self) -> None:
        if not self.closed:
            self.closed = True
            self._pending.clear()
            self.transport.shut_down()

    def _answer(self, data: bytes | memoryview) -> None:
        if self.closed:
            return
        if not self._pending:
            self._unread = 0
            self._send(data)
        elif self._unread > self._unread_answers:
            self._close()
        else:
            self._unread += len(data)
            self._pending.append(data)

    def _send(self, data: bytes | memoryview) -> None:
        """Send; keep what the socket does not take, and fall behind. The caller holds the mutex."""
        if self._pending:
            self._pending.append(data)
            return
        self._keep_rest(data, self._send_now(data))

    def _keep_rest(self, data: bytes | memoryview, sent: int) -> None:
        """Keep the rest of a live send, if there is one, and fall behind. The caller holds the mutex."""
        if sent < len(data) and not self.closed:
            self._keep(data, sent)
            self._fall_behind()

    def _keep(self, data: bytes | memoryview, sent: int, first: bool = False) -> None:
        """Keep the unsent rest of the data, before or behind the pending data. The caller holds the mutex."""
        if sent < len(data) and not self.closed:
            rest = memoryview(data)[sent:]
            if first:
                self._pending.appendleft(rest)
            else:
                self._pending.append(rest)

    def _fall_behind(self) -> None:
        if not self.lagging:
            self.lagging = True
            self._pending.append(self._encoded(_LAGGING))
            self._on_lag(self)

    def _send_now(self, data: bytes | memoryview) -> int:
        return self._bytes_sent(self.transport.send(data))

    def _bytes_sent(self, result: int) -> int:
        """Return the number of bytes sent, from the result of `send`; close a broken connection."""
        if result < 0 and result != -errno.EAGAIN:
            self._close()
        return max(0, result)


ClientMember = Member[ConnectionWriter]
"""A member whose subscriber is a connection of this node."""
