"""The state of a room and how moderators change it: topic, roles, bans, mutes, invitations and settings.

This module owns the forms of these records; the application's threads call it. It must never judge: the node does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parlour.client.events import Message
from parlour.client.knownstate import shown_settings
from parlour.wire.room_state import RoomState
from parlour.wire.skeleton import skeleton

__all__ = ["Moderation"]


class Moderation:
    """The part of a room that is about its state. Each method that changes it returns the record, and raises as `say`.

    NodeError with the code "forbidden" means that the chat has no right to do it; its text says who has.

    The properties `topic`, `owner`, `roles`, `role` and `settings` are up to date with all records that have come from
    the node. Only the first one used, and the first one after the room was joined anew, asks the node; that raises as
    `Chat.ask` does. While the connection is lost they tell the state of before.
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

    @property
    def account(self) -> str:
        """The account of the chat; empty for a guest."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Ask the node for topic, settings, roles, bans and mutes, and the role of this chat; raises as `Chat.ask`."""
        raise NotImplementedError

    def known_state(self) -> RoomState:
        """Return the state by all records that came, without bans, mutes and invitations; raises as `Chat.ask`."""
        raise NotImplementedError

    @property
    def topic(self) -> str:
        """The topic; empty if there is none."""
        return self.known_state().topic

    @property
    def owner(self) -> str:
        """The account that owns the room; empty if none does."""
        state = self.known_state()
        return state.roles[state.owner].name if state.owner in state.roles else ""

    @property
    def roles(self) -> dict[str, str]:
        """The accounts with a role: "voice", "operator" or "owner"."""
        return {role.name: role.role for role in self.known_state().roles.values()}

    @property
    def role(self) -> str:
        """The role of this chat's account; empty if it has none."""
        held = self.known_state().roles.get(skeleton(self.account)) if self.account else None
        return held.role if held is not None else ""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by name, as docs/protocol.md lists them; `password` tells whether there is one."""
        return shown_settings(self.known_state())

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
