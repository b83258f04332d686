"""What moderators do in a room: topic, roles, bans, mutes, invitations and settings, each a record of the room.

This module owns the forms of these records; the application's threads call it. It must never judge: the node does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parlour.client.events import Message

__all__ = ["Moderation"]


class Moderation:
    """The part of a room that is for moderators. Each method returns the record, and raises as `Room.say` does.

    NodeError with the code "forbidden" means that the chat has no right to do it; its text says who has.
    """

    name: str

    def say(
        self,
        text: str,
        timeout: float = 10.0,
        *,
        kind: str = "",
        ref: Message | int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Message:
        """Post a record; see `Room.say`."""
        raise NotImplementedError

    def ask(self, what: str, data: Mapping[str, Any], timeout: float = 10.0) -> dict[str, Any]:
        """Ask the node something about this room; see `Chat.ask`."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return the room's topic, settings, roles, bans and mutes, and the role of this chat; raises as `Chat.ask`."""
        return self.ask("state", {"room": self.name})

    def set_topic(self, topic: str) -> Message:
        """Set the topic; an empty one removes it."""
        return self.say(topic, kind="topic")

    def give_role(self, name: str, role: str) -> Message:
        """Give an account the role "voice", "operator" or "owner", or with "" none."""
        return self.say("", kind="role", data={"who": name, "role": role})

    def kick(self, name: str, reason: str = "") -> Message:
        """Show somebody out, who may come back."""
        return self.say(reason, kind="kick", data={"who": name})

    def ban(self, mask: str, seconds: float = 0, reason: str = "") -> Message:
        """Ban a name, a pattern with `*` and `?`, an address or a network, for so many seconds; 0: for ever."""
        return self.say(reason, kind="ban", data={"who": mask, "for": seconds})

    def unban(self, mask: str) -> Message:
        """Lift a ban."""
        return self.say("", kind="unban", data={"who": mask})

    def mute(self, mask: str, seconds: float = 0, reason: str = "") -> Message:
        """Let somebody listen only; arguments as in `ban`."""
        return self.say(reason, kind="mute", data={"who": mask, "for": seconds})

    def unmute(self, mask: str) -> Message:
        """Let somebody speak again."""
        return self.say("", kind="unmute", data={"who": mask})

    def invite(self, name: str) -> Message:
        """Let somebody in whom the settings would keep out."""
        return self.say("", kind="invite", data={"who": name})

    def set(self, setting: str, value: Any) -> Message:
        """Change a setting of the room; docs/protocol.md lists them."""
        return self.say("", kind="setting", data={"name": setting, "value": value})
