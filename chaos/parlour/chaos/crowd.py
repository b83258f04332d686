"""All the clients of a round: they come in together, talk, fall silent and are heard out.

This module owns who is in which room and who talks how much, both by the seed, and the thread that hears for all of
them. The round's thread calls it; the clients' own threads talk. It must never give up early on what is late.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence

from parlour.chaos.judge import Line, Said
from parlour.chaos.resumption import Heard
from parlour.chaos.talker import Talker
from parlour.client.chat import connect
from parlour.client.events import Message
from parlour.runtime.threads import join_all, spawn
from parlour.wire.errors import ParlourError

__all__ = ["RATE", "Crowd"]

RATE = 200.0
"""Messages a second that all clients say together, on average."""

GATES = 16
"""Clients that come in at the same time."""

ENTERED = 120.0
"""Seconds that all have to come in."""

PARTED = 60.0
"""Seconds that all have to go."""

STUCK = 4.0
"""Seconds without a message to anybody after which those who miss some will not see them any more."""

READING = 10.0
"""Seconds without a message after which a log that is being read has no more."""

HEARING = 0.02
"""Seconds between two hearings; a message is held for as much later than it came."""

LOOK = 0.05
"""Seconds between two looks whether all is quiet."""

ALL = 2**53 - 1
"""As many old messages as there may be."""


class Crowd:
    """Clients `c1`, `c2`, …, each in a room or two of `rooms`, which have none but them."""

    def __init__(
        self, brokers: Sequence[str], count: int, rooms: Sequence[str], seed: int, stop: threading.Event
    ) -> None:
        """Prepare the clients; `stop` makes every wait give up."""
        self.rooms = rooms
        self.talkers: dict[str, Talker] = {}
        self._brokers = brokers
        self._stop = stop
        self._silence = threading.Event()
        self._deaf = threading.Event()
        self._ears: threading.Thread | None = None
        chance = random.Random(seed)
        lines: dict[Line, Line] = {}
        for number in range(count):
            # Each room has somebody in it, if there are clients enough; some clients are in two.
            chosen = [rooms[number % len(rooms)]]
            if len(rooms) > 1 and chance.random() < 0.5:
                chosen.append(chance.choice([room for room in rooms if room not in chosen]))
            pause = count / RATE * chance.uniform(0.5, 1.5)
            name = f"c{number + 1}"
            self.talkers[name] = Talker(name, chosen, pause, f"{seed} {name}", lines)

    def __enter__(self) -> Crowd:
        """Let all come in; raises what went wrong for the first that could not, with nobody left inside."""
        try:
            self._come()
            self._ears = spawn("ears", self._hear)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _come(self) -> None:
        errors: list[ParlourError] = []
        waiting = list(self.talkers.values())

        def gate() -> None:
            while waiting and not errors and not self._stop.is_set():
                try:
                    waiting.pop().enter(self._brokers)
                except IndexError:
                    return  # Another took the last one.
                except ParlourError as error:
                    errors.append(error)

        join_all([spawn(f"gate-{number + 1}", gate) for number in range(GATES)], ENTERED)
        if errors:
            raise ParlourError(f"the clients could not come in: {errors[0]}")

    def close(self) -> None:
        """Let all go; raises StuckThreadError if one does not."""
        self._silence.set()
        self._deaf.set()
        if self._ears is not None:
            join_all([self._ears], PARTED)
        waiting = list(self.talkers.values())

        def gate() -> None:
            while waiting:
                try:
                    waiting.pop().close()
                except IndexError:
                    return

        join_all([spawn(f"gate-{number + 1}", gate) for number in range(GATES)], PARTED)

    def _hear(self) -> None:
        # One thread for all, again and again: one for each room would have to be woken for every message.
        while not self._deaf.wait(HEARING):
            for talker in self.talkers.values():
                talker.hear()

    def talk(self) -> None:
        """Let all begin to talk."""
        for talker in self.talkers.values():
            talker.talk(self._silence)

    def hush(self) -> None:
        """Let nobody say anything more."""
        self._silence.set()

    def at(self, node: str) -> tuple[str, ...]:
        """Return the names of the clients at a node."""
        return tuple(name for name, talker in self.talkers.items() if talker.node == node)

    def answered(self, timeout: float) -> bool:
        """Wait until nobody talks and every post has come to its end; return whether so within so many seconds."""
        return self._until(lambda: not any(talker.waiting for talker in self.talkers.values()), timeout)

    def heard_out(self, tops: dict[str, int]) -> None:
        """Wait until every member of each room has seen its last message, or for long nobody saw anything more."""

        def missing() -> int:
            return sum(
                max(0, tops[room] - (membership.lines[-1].offset if membership.lines else 0))
                for talker in self.talkers.values()
                for room, membership in talker.rooms.items()
            )

        def fewer(than: int) -> bool:
            return self._until(lambda: missing() < than, STUCK)

        while (left := missing()) and fewer(left):
            pass

    def read(self, room: str) -> list[Line]:
        """Return the room's whole log, as a client reads it that has never been here; raises as `connect` does.

        Its node may itself have yet to hear of the room's last messages, so what was acknowledged is waited for.
        """
        last = max((said.offset or 0 for said in self.said(room)), default=0)
        log: list[Line] = []
        with connect(self._brokers, "reader", room=room, timeout=READING) as chat:
            joined = chat.join(room, history=ALL)
            events = joined.events(READING)
            while len(log) < joined.replays or (log[-1].offset if log else 0) < last:
                event = next(events, None)
                if event is None:
                    break
                if isinstance(event, Message):
                    log.append(Line(event.offset, event.id, event.by, event.at, event.text))
        return log

    # --- what they remember -----------------------------------------------------------------------------------

    def said(self, room: str) -> list[Said]:
        """Return what was said in a room, of each client in its order."""
        return [said for t in self.talkers.values() if room in t.rooms for said in t.rooms[room].said()]

    def seen(self, room: str) -> dict[str, list[Line]]:
        """Return what each member of a room saw."""
        return {name: talker.rooms[room].lines for name, talker in self.talkers.items() if room in talker.rooms}

    def heard(self) -> dict[str, list[Heard]]:
        """Return what each client saw in its rooms, and when."""
        return {
            name: [Heard(membership.lines, membership.times) for membership in talker.rooms.values()]
            for name, talker in self.talkers.items()
        }

    def troubles(self) -> list[str]:
        """Return what went wrong for clients, a line each."""
        return [trouble for talker in self.talkers.values() for trouble in talker.troubles()]

    def returns(self) -> int:
        """Return how often clients were connected again, all together."""
        return sum(talker.returns for talker in self.talkers.values())

    def _until(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() >= deadline or self._stop.wait(LOOK):
                return False
        return True
