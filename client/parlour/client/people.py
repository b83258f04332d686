"""What a chat can do about people: its own account, the names and devices, and other people.

This module owns the words of these asks; the application's threads call it. It must never keep a password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parlour.client.roomstate import RoomState

__all__ = ["Device", "People"]


ORDER = 15.0
"""Seconds for an order to all nodes: the node waits up to 10 s for their answers."""


@dataclass(frozen=True)
class Device:
    """A device that signs in to the account with a token of its own; `made` is in ms since the Unix epoch."""

    id: str
    label: str
    made: int


class People:
    """The part of a chat that is about people. Each method raises as `Chat.ask` does.

    Attributes:
        name: the name that others see.
        account: the account's name; empty for a guest.
        display: the display name of the account, once `nick` or `whoami` has told it; empty if it has none.
    """

    name: str
    account: str
    display: str = ""

    def ask(self, what: str, data: Mapping[str, Any] | None = None, timeout: float = 10.0) -> dict[str, Any]:
        """Ask the node something that docs/protocol.md lists, and return the data of its answer.

        Raises NodeError if the node refuses, DisconnectedError if there is no connection or it is lost meanwhile (the
        node may have done what was asked), DeadlineError after `timeout` seconds.
        """
        raise NotImplementedError

    @property
    def rooms(self) -> Sequence[RoomState]:
        """The rooms that the chat is in or is joining."""
        raise NotImplementedError

    def sign_in_with(self, **proof: str) -> None:
        """Say these fields in the hello of each further connection."""
        raise NotImplementedError

    def register(self, password: str, invitation: str = "") -> None:
        """Make the name an account with this password; `invitation` is a code, where one is needed."""
        told = self.ask("register", {"password": password, "invitation": invitation})
        self.account = str(told.get("account", self.name))
        self.sign_in_with(password=password)

    def change_password(self, old: str, new: str) -> None:
        """Give the account another password. Its devices stay signed in."""
        self.ask("password", {"old": old, "new": new})
        self.sign_in_with(password=new)

    def nick(self, name: str) -> None:
        """Take another name, as a guest, or another display name, with an account."""
        told = self.ask("nick", {"name": name})
        self.display = str(told.get("display", ""))
        if not self.account:
            self.name = str(told.get("name", name))
            self.sign_in_with(name=self.name)
            for room in self.rooms:
                room.on_renamed(self.name)

    def whoami(self) -> dict[str, Any]:
        """Return who the chat is for the node: name, account, display name, address, whether it is an operator."""
        told = self.ask("whoami")
        self.display = str(told.get("display", ""))
        return told

    def whois(self, name: str) -> dict[str, Any]:
        """Return what the cluster tells about a person: name, account, display name, whether it is an operator."""
        return self.ask("whois", {"name": name})

    def new_token(self, label: str) -> str:
        """Return a token with which a device can sign in to the account without the password."""
        return str(self.ask("token", {"label": label})["token"])

    def devices(self) -> list[Device]:
        """Return the devices that have a token of the account."""
        return [Device(each["id"], each["label"], each["made"]) for each in self.ask("devices")["devices"]]

    def revoke(self, device: str) -> None:
        """Sign a device of the account out, by its id."""
        self.ask("revoke", {"id": device})

    def unread(self) -> dict[str, dict[str, int]]:
        """Return the account's rooms with news: for each the numbers of `unread` records and of `mentions`."""
        return dict(self.ask("unread")["rooms"])

    def mark(self, room: str, offset: int) -> None:
        """Note, for all devices of the account, that a room is read up to this offset."""
        self.ask("mark", {"room": room, "offset": offset})

    def belongings(self) -> dict[str, Any]:
        """Return the `rooms` of the account, its private `conversations` (room and name), and whom it has `ignored`."""
        return self.ask("belongings")

    def ignore(self, name: str) -> None:
        """Ignore a person; programs that show messages leave out theirs."""
        self.ask("ignore", {"name": name})

    def unignore(self, name: str) -> None:
        """Ignore a person no more."""
        self.ask("unignore", {"name": name})

    def listed_rooms(self) -> list[dict[str, Any]]:
        """Return the rooms that are not secret: `name`, `topic`, and `people` where the node knows their number."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            told = self.ask("rooms", {"after": after})
            found += told["rooms"]
            after = str(told["after"])
            if not after:
                return found

    def kick(self, name: str, reason: str = "") -> int:
        """End all connections of a person, as an operator of the cluster; return their number."""
        return int(self.ask("kick", {"name": name, "reason": reason}, ORDER)["connections"])

    def announce(self, text: str) -> None:
        """Say something to everybody who is connected, as an operator of the cluster."""
        self.ask("announce", {"text": text}, ORDER)

    def invite(self) -> str:
        """Return a code with which somebody can make an account, if this account may invite people."""
        return str(self.ask("invite")["code"])
