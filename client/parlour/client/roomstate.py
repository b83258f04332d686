"""What the node tells of one room: its events, who is there, and the answers to what the application asked.

This module owns the room's backlog of events, its roster and the requests that wait. The chat's keeper and reader
threads call it, while the application's threads use what it holds by `Room`; neither waits for the other for longer
than a lock is held. It must never send anything, nor resolve a future while it holds its lock.
"""

from __future__ import annotations

import threading
import time

from parlour.client.backlog import Backlog
from parlour.client.errors import DisconnectedError, NodeError
from parlour.client.events import Disconnected, Lagging, Message, Presence, Reconnected, Reconnecting
from parlour.client.link import Link
from parlour.client.requests import Requests, fail
from parlour.client.roster import Roster
from parlour.runtime.locks import make_lock
from parlour.wire import messages as wire

__all__ = ["RoomState"]


class RoomState:
    """The state of the room `name`, for the client called `own_name` whose posts are counted in `session`.

    At most `backlog` events are kept; a newcomer asks for `history` old messages.
    """

    def __init__(self, name: str, own_name: str, session: str, backlog: int, history: int) -> None:
        self.name = name
        self._own_name = own_name
        self._session = session
        # Guards all fields below. Rank 30.
        self._lock = make_lock(30, f"room {name}")
        self._changed = threading.Condition(self._lock)
        self._backlog = Backlog(name, backlog, history)
        self._link: Link | None = None  # the connection that tells who is here
        self._interrupted = False
        self._roster = Roster()
        self._replays = 0
        self._requests = Requests()
        self._end: str | None = None  # why nothing can be asked any more

    @property
    def parting(self) -> bool:
        """Whether the application is leaving."""
        with self._lock:
            return self._requests.parting is not None

    @property
    def questions(self) -> list[wire.ClientMessage]:
        """What the application waits to be told, to be asked again on another connection."""
        with self._lock:
            return self._requests.open_questions(self.name)

    @property
    def is_entered(self) -> bool:
        """Whether the application is in the room already, or else waits to be."""
        return self._requests.entering.done()

    def resume(self) -> wire.Join:
        """Return the join that brings the room to a connection; the keeper sends it, and nobody else sends any."""
        with self._lock:
            return self._backlog.resume()

    def on_lost(self, link: Link, reason: str) -> None:
        """A connection was lost, and the keeper is looking for another."""
        with self._changed:
            if self._link is link:
                self._interrupted = True
                self._backlog.add(Reconnecting(reason))
                self._changed.notify_all()

    def on_joined(self, joined: wire.Joined, link: Link) -> None:
        """The node at the other end of this connection says where the room stands."""
        with self._changed:
            if self._link is None or not self._link.newer_than(link):
                self._link = link
                self._roster.relist()
                if self._interrupted:
                    self._interrupted = False
                    self._backlog.add(Reconnected(link.node))
                if self._requests.entering_open:
                    self._replays = max(0, joined.offset - joined.after)
            elif joined.epoch != self._backlog.epoch:
                return  # The newer connection tells of new epochs.
            self._backlog.joined(joined)
            self._changed.notify_all()

    def on_message(self, message: wire.Message, epoch: str | None) -> Message:
        """Keep a message of this epoch for the application, and return it as the event that it is."""
        with self._changed:
            event = self._backlog.message(message, epoch, self._session)
            self._changed.notify()
        return event

    def on_members(self, members: wire.Members, link: Link) -> None:
        """Take a list of names, or a part of one."""
        with self._changed:
            if link is not self._link:
                return  # Who is here is told by the newest connection alone.
            if not self._roster.list(members.names, members.count, members.more, _bots(members.names, members.bots)):
                return
            self._tell()
            names = sorted(self._roster.names)
            entering = self._requests.take_entering()
            # A list cut short belongs to a join. A whole one may be the answer to several questions.
            answered = self._requests.take_who() if len(names) >= members.count else []
        for question in answered:
            question.set_result(names)
        if entering is not None:
            entering.set_result(None)

    def on_page(self, page: wire.Page) -> None:
        """Old messages that were asked for, perhaps by several threads."""
        with self._lock:
            answered = self._requests.take_pages(page.before)
        for question in answered:
            question.set_result(page)

    def on_presence(self, presence: wire.Presence, link: Link) -> None:
        """Apply comings and goings to the roster, and keep those that are news."""
        with self._changed:
            if link is not self._link:
                return
            # One's own absence, while one was on the way back, is over when one hears of it.
            left = [name for name in presence.left if name != self._own_name]
            self._roster.change(presence.joined, left, presence.count, _bots(presence.joined, presence.bots))
            self._tell()

    def on_lagging(self) -> None:
        """The node says that this program reads too slowly."""
        with self._changed:
            self._backlog.offer(Lagging())
            self._changed.notify()

    def on_error(self, error: wire.Error) -> None:
        """Something asked for in this room, that was no post, was not done."""
        with self._changed:
            if self._backlog.refused(time.monotonic(), error.retry_after):
                self._changed.notify_all()
                return
            asked = self._requests.take_all()
        fail(asked, NodeError(error.text, error.code, error.retry_after))

    def on_left(self) -> None:
        """The room was left: nothing follows."""
        with self._changed:
            self._end = f"{self.name} was left: join it again"
            parting = self._requests.take_parting()
            asked = self._requests.take_all()
            self._changed.notify_all()
        if parting is not None:
            parting.set_result(None)
        fail(asked, DisconnectedError(self._end))

    def on_end(self, reason: str | None) -> None:
        """The connection was lost for this `reason`, or the chat closed (None): nothing follows."""
        with self._changed:
            self._end = reason or "the chat was closed"
            if reason is not None:
                self._backlog.add(Disconnected(reason))
            parting = self._requests.take_parting()
            asked = [*self._requests.take_all(), *([] if parting is None else [parting])]
            self._changed.notify_all()
        fail(asked, DisconnectedError(self._end))

    def _tell(self) -> None:
        """Keep the news of the roster for the application, as soon as they can be kept; the lock is held."""
        news = self._roster.news()
        if news is None:
            return
        bots = tuple(name for name in news[0] if name in self._roster.bots)
        if self._backlog.offer(Presence(self.name, *news, self._roster.count, bots)):
            self._roster.told()
            self._changed.notify()


def _bots(names: list[str], places: list[int]) -> list[str]:
    return [names[place] for place in places if place < len(names)]
