"""The publications of a room: its batches, its presence, and heartbeats that show other nodes what they missed.

This module owns a room's topic and its heartbeat; any thread may publish. It must never publish while the room's mutex
is held, except that `announcement` only makes the publications.
"""

from __future__ import annotations

import threading

from parlour.node.rooms.context import RoomContext
from parlour.node.rooms.heartbeat import BeatSeries, Heartbeat
from parlour.node.rooms.presence import RoomPresence
from parlour.node.rooms.timeline import Timeline
from parlour.wire import relay as wire

__all__ = ["Announcer"]


class Announcer:
    """The publications of one room."""

    def __init__(
        self, name: str, context: RoomContext, mutex: threading.Lock, timeline: Timeline, presence: RoomPresence
    ) -> None:
        """The mutex guards the timeline, the presence and the heartbeat."""
        self._topic = wire.room_topic(name)
        self._relay = context.relay
        self._mutex = mutex
        self._timeline = timeline
        self._presence = presence
        self._heartbeat = Heartbeat(context.scheduler, self._beat)

    @property
    def heard(self) -> bool:
        """Whether another node listens."""
        return self._relay.has_listeners(self._topic)

    def publish(self, header: wire.RelayMessage, frames: bytes | memoryview = b"") -> None:
        """Send to the nodes that listen."""
        self._relay.publish(self._topic, header, frames)

    def begin_heartbeat(self) -> None:
        """Repeat the room's last offset in a while. The caller holds the mutex."""
        self._heartbeat.begin()

    def announcement(self) -> list[wire.RelayMessage]:
        """Return the publications for a node that begins to listen; heartbeats then repeat them."""
        with self._mutex:
            self._heartbeat.begin()
            return [self._presence.snapshot(), *self._log_head()]

    def _log_head(self) -> list[wire.LogHead]:
        """Return the room's last offset; nothing while the room is being opened. The caller holds the mutex."""
        return [wire.LogHead(self._timeline.epoch, self._timeline.offset)] if self._timeline.epoch else []

    def _beat(self, series: BeatSeries) -> None:
        """Tell the other nodes the room's last offset and presence version, so that they see what they missed."""
        with self._mutex:
            headers: list[wire.RelayMessage] = [*self._log_head(), self._presence.heartbeat()]
            series.advance()
        for header in headers:
            self.publish(header)
