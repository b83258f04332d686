"""The state of one room by what the node tells: events, members, and answers to the application's requests.

This module owns the room's backlog of events, its roster and the requests that wait. The reconnector's and the reader
threads call it; the application's threads use its fields through `Room`. Neither waits for the other longer than the
lock is held. It must never send anything, nor resolve a future while it holds its lock.
"""

from __future__ import annotations

import threading
import time

from parlour.client.backlog import Backlog
from parlour.client.errors import DisconnectedError, NodeError
from parlour.client.events import Disconnected, Lagging, Message, Presence, Reconnected, Reconnecting
from parlour.client.knownstate import KnownState
from parlour.client.nodelink import NodeLink
from parlour.client.requests import Requests, fail
from parlour.client.roster import Roster
from parlour.runtime.locks import make_lock
from parlour.wire import messages as wire

__all__ = ["RoomState"]


class RoomState:
    """The state of the room `name`, for a client called `own_name` whose posts are counted in `session`.

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
        self._link: NodeLink | None = None  # the connection that tells the members
        self._interrupted = False
        self._roster = Roster()
        self._known = KnownState()
        self._replays = 0
        self._requests = Requests()
        self._end: str | None = None  # why nothing can be asked any more

    @property
    def is_leaving(self) -> bool:
        """Whether the application is leaving the room."""
        with self._lock:
            return self._requests.leaving is not None

    @property
    def is_entered(self) -> bool:
        """Whether the application is in the room; if not, it waits for that."""
        return self._requests.joining.done()

    @property
    def questions(self) -> list[wire.ClientMessage]:
        """The questions that are not answered, to be asked again on another connection."""
        with self._lock:
            return self._requests.open_questions(self.name)

    def resume(self) -> wire.Join:
        """Return the join that goes on behind the last event kept. Only the reconnector may send it."""
        with self._lock:
            return self._backlog.resume()

    def on_lost(self, link: NodeLink, reason: str) -> None:
        """Handle the loss of a connection; the reconnector looks for another."""
        with self._changed:
            if self._link is link:
                self._interrupted = True
                self._backlog.add(Reconnecting(reason))
                self._changed.notify_all()

    def on_joined(self, joined: wire.Joined, link: NodeLink) -> None:
        """Handle where the room stands, as the node of this connection tells it."""
        with self._changed:
            if self._link is None or not self._link.newer_than(link):
                self._link = link
                self._roster.relist()
                if self._interrupted:
                    self._interrupted = False
                    self._backlog.add(Reconnected(link.node))
                if self._requests.joining_open:
                    self._replays = max(0, joined.offset - joined.after)
            elif joined.epoch != self._backlog.epoch:
                return  # The newer connection tells of new epochs.
            self._known.joined(joined.epoch)
            self._backlog.joined(joined)
            self._changed.notify_all()

    def on_message(self, message: wire.Message, epoch: str | None) -> Message:
        """Keep the event of a record of this epoch for the application; return the record as a Message."""
        with self._changed:
            self._known.record(message, epoch)
            record = self._backlog.record(message, epoch, self._session)
            self._changed.notify()
        return record

    def on_members(self, members: wire.Members, link: NodeLink) -> None:
        """Handle a list of members, or a part of one."""
        with self._changed:
            if link is not self._link:
                return  # Only the newest connection tells the members.
            if not self._roster.list(members.names, members.count, members.more, _bots(members.names, members.bots)):
                return
            self._keep_news()
            names = sorted(self._roster.names)
            joining = self._requests.take_joining()
            # A list cut short belongs to a join. A whole list may answer several questions.
            answered = self._requests.take_who() if len(names) >= members.count else []
        for question in answered:
            question.set_result(names)
        if joining is not None:
            joining.set_result(None)

    def on_page(self, page: wire.Page) -> None:
        """Handle a page of old messages; several threads may have asked for it."""
        with self._lock:
            answered = self._requests.take_pages(page.before)
        for question in answered:
            question.set_result(page)

    def on_presence(self, presence: wire.Presence, link: NodeLink) -> None:
        """Apply changes of the members to the roster, and keep those that are news."""
        with self._changed:
            if link is not self._link:
                return
            # The client's own absence, while it was cut off, is over when the client hears of it.
            left = [name for name in presence.left if name != self._own_name]
            self._roster.change(presence.joined, left, presence.count, _bots(presence.joined, presence.bots))
            self._keep_news()

    def on_renamed(self, name: str) -> None:
        """Handle that the client has another name; the node tells the members so before its answer or after it."""
        with self._changed:
            before, self._own_name = self._own_name, name
            if name != before:
                self._roster.change([], [before], self._roster.count, [])

    def on_lagging(self) -> None:
        """Handle the node's remark that this program reads too slowly."""
        with self._changed:
            self._backlog.offer(Lagging())
            self._changed.notify()

    def on_error(self, error: wire.Error) -> None:
        """Fail the application's requests in this room, of which the node refused one; posts are not among them."""
        with self._changed:
            if self._backlog.refused(time.monotonic(), error.retry_after):
                self._changed.notify_all()
                return
            asked = self._requests.take_all()
        fail(asked, NodeError(error.text, error.code, error.retry_after))

    def on_left(self) -> None:
        """Handle that the room was left: nothing follows."""
        with self._changed:
            self._end = f"{self.name} was left: join it again"
            leaving = self._requests.take_leaving()
            asked = self._requests.take_all()
            self._changed.notify_all()
        if leaving is not None:
            leaving.set_result(None)
        fail(asked, DisconnectedError(self._end))

    def on_end(self, reason: str | None) -> None:
        """Handle that the connection was lost for good for this `reason`, or that the chat was closed (None)."""
        with self._changed:
            self._end = reason or "the chat was closed"
            if reason is not None:
                self._backlog.add(Disconnected(reason))
            leaving = self._requests.take_leaving()
            asked = [*self._requests.take_all(), *([] if leaving is None else [leaving])]
            self._changed.notify_all()
        fail(asked, DisconnectedError(self._end))

    def _keep_news(self) -> None:
        """Keep the news of the roster for the application as soon as there is room for them; the lock is held."""
        news = self._roster.news()
        if news is None:
            return
        bots = tuple(name for name in news[0] if name in self._roster.bots)
        if self._backlog.offer(Presence(self.name, *news, self._roster.count, bots)):
            self._roster.told()
            self._changed.notify()


def _bots(names: list[str], places: list[int]) -> list[str]:
    return [names[place] for place in places if place < len(names)]
