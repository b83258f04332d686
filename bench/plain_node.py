"""A node that delivers as a plain server would: each message logged alone, then a `sendall` per member.

It is `parlour node` in everything else, so that a run beside the real one shows what combining is worth.
"""

from __future__ import annotations

import time

from parlour.cli import main
from parlour.node import rooms
from parlour.node.log import Extent, LogError
from parlour.node.order import Arrival
from parlour.node.outlet import Posting
from parlour.node.room import Room
from parlour.wire.codec import frame
from parlour.wire.messages import Message

__all__: list[str] = []


class PlainRoom(Room):
    """A room whose combiner does not combine."""

    def _pass(self, postings: list[Posting], arrivals: list[Arrival]) -> None:
        for posting in postings:
            try:
                (place,) = self._s.log.append(self.name, [posting.post])
            except LogError as error:
                self._refuse([posting], "unavailable", str(error))
                continue
            post = posting.post
            data = frame(Message(self.name, place.offset, f"{post.session}-{post.id}", post.by, place.at, post.text))
            for member in self._members:
                with member.outlet._mutex:
                    member.offset = place.offset
                    member.outlet.socket.sendall(data)
            self._standing.begin(Extent(place.epoch, 0, place.offset))
            self._s.load.count(
                1, len(self._members), posting.size, len(data) * len(self._members), time.monotonic() - posting.arrived
            )
        super()._pass([], arrivals)


if __name__ == "__main__":
    setattr(rooms, "Room", PlainRoom)  # noqa: B010 - to a type checker the name is not the module's to give
    main()
