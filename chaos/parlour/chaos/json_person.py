"""A person with an account who speaks JSON lines.

This module owns the way in of such a person; `JsonClient` owns the connection. The person's own thread runs it, like
that of every person. It must never help parlour.
"""

from __future__ import annotations

from collections.abc import Mapping

from parlour.chaos.json_client import JsonClient
from parlour.chaos.people import ENDING, ENTERING, Person, Remark
from parlour.chaos.requests import Door

__all__ = ["JsonPerson"]


class JsonPerson(Person):
    """A person who comes back to the room with rights by itself, where it goes on behind the last record."""

    def __init__(
        self, name: str, partner: str, room: str, brokers: list[str], seed: str, nodes: Mapping[str, str]
    ) -> None:
        """Prepare a person that finds its nodes, given by name, at random; else as `Person` does."""
        super().__init__(name, partner, room, brokers, seed)
        self._nodes = nodes
        self._client: JsonClient | None = None
        self._proof: dict[str, str] = {}

    def register(self, password: str, by_token: bool) -> None:
        """Make an account by the library; raises ParlourError."""
        super().register(password, by_token)
        self._proof = {"token": self.chat.new_token("lines")} if by_token else {"password": password}
        self.chat.close()

    def enter(self) -> None:
        """Join the rooms, of which the partner has opened the private one; raises ParlourError."""
        self._client = JsonClient(
            self.name,
            [self.room_name, self.private],
            self.chance.choice(list(Door)),
            self._brokers,
            self._nodes,
            proof=self._proof,
            strict={self.room_name},
        )
        self._client.start(ENTERING)

    def close(self) -> None:
        """Disconnect, when `leaving` is set; raises StuckThreadError if a thread does not end."""
        super().close()
        self.client.stop(ENDING)

    @property
    def client(self) -> JsonClient:
        """The connection; call `enter` before."""
        assert self._client is not None
        return self._client

    def say(self, room: str, text: str) -> Remark:
        """Say something in one of the two rooms, as soon as the person is in it."""
        return Remark(self.name, text, self.client.post(room, text), sure=True)

    def _listen(self) -> None:
        for room, record, _ in self.client.take():
            (self.seen if room == self.room_name else self.heard).append(record)
        self.troubles = [f"{self.name} in {room}: {trouble}" for room, trouble in self.client.troubles]
