"""Running the commands of a chat that are about people and rights: names, accounts, and the state of a room.

This module owns their questions and the lines that answer them; the main thread runs it. It must never show a password.
"""

from __future__ import annotations

from typing import Any

from parlour.client.chat import Chat
from parlour.client.commands import Announce, Devices, Ignore, Kill, Nick, Password, Register, WhoIs
from parlour.client.display import harmless
from parlour.client.keyboard import Keyboard
from parlour.client.people import Device
from parlour.client.room import Room
from parlour.runtime.output import counted, local_time
from parlour.wire.errors import UsageError

__all__ = ["PeopleCommand", "device_line", "room_lines", "run_people_command", "state_lines", "unread_line"]

PeopleCommand = Nick | Register | Password | WhoIs | Ignore | Devices | Kill | Announce


def run_people_command(chat: Chat, keyboard: Keyboard, command: PeopleCommand) -> list[str]:
    """Run a command and return the lines that answer it; raises as `Chat.ask`, and UsageError."""
    if isinstance(command, Devices):
        if command.revoked:
            chat.revoke(command.revoked)
        return [device_line(device) for device in chat.devices()] or ["no device signs in to your account by itself"]
    return [_answer(chat, keyboard, command)]


def device_line(device: Device) -> str:
    """Return the line that tells of a device."""
    made = local_time(device.made)
    when = f"{made:%Y-%m-%d %H:%M}" if made is not None else "at no time"
    return f"{harmless(device.id)}  {when}  {harmless(device.label)}"


def _answer(
    chat: Chat, keyboard: Keyboard, command: Nick | Register | Password | WhoIs | Ignore | Kill | Announce
) -> str:
    match command:
        case Nick():
            chat.nick(command.name)
            return f"others see you as {harmless(command.name)} now"
        case Register():
            chat.register(_new_password(keyboard), command.code)
            return f"{harmless(chat.account)} is your account now: nobody else can take the name"
        case Password():
            old = keyboard.read_secret("present password: ")
            chat.change_password(old, _new_password(keyboard))
            return "the password is changed; your devices stay signed in"
        case Ignore():
            (chat.ignore if command.ignored else chat.unignore)(command.name)
            return f"you see {'nothing' if command.ignored else 'all'} of {harmless(command.name)} from now on"
        case Kill():
            return f"ended {counted(chat.kick(command.name, command.reason), 'connection')} of {harmless(command.name)}"
        case Announce():
            chat.announce(command.text)
            return "said to everybody"
        case WhoIs():
            return _person(chat.whois(command.name))


def _new_password(keyboard: Keyboard) -> str:
    password = keyboard.read_secret("new password: ")
    if keyboard.read_secret("the same again: ") != password:
        raise UsageError("the two are not the same: nothing is changed")
    return password


def _person(told: dict[str, Any]) -> str:
    parts = [harmless(str(told.get("name", "")))]
    if told.get("display"):
        parts.append(f"is called {harmless(str(told['display']))}")
    parts.append("has an account" if told.get("account") else "is a guest")
    if told.get("operator"):
        parts.append("operates this cluster")
    if told.get("address"):
        parts.append(f"comes from {harmless(str(told['address']))}")
    return f"{parts[0]} {', '.join(parts[1:])}"


def room_lines(chat: Chat) -> list[str]:
    """Return the listed rooms, a line each; raises as `Chat.ask`."""
    lines: list[str] = []
    for room in chat.listed_rooms():
        people = "" if room["people"] is None else f" ({room['people']} there)"
        topic = f": {harmless(room['topic'])}" if room["topic"] else ""
        lines.append(f"{harmless(room['name'])}{people}{topic}")
    return lines or ["there are no rooms that are listed"]


def unread_line(chat: Chat) -> str:
    """Return what is new in the rooms of the account, empty if nothing is; raises as `Chat.ask`."""
    parts: list[str] = []
    for room, count in chat.unread().items():
        mentions = f", {count['mentions']} for you" if count["mentions"] else ""
        parts.append(f"{harmless(room)} ({count['unread']} new{mentions})")
    return f"since you were here: {', '.join(parts)}" if parts else ""


def state_lines(room: Room) -> list[str]:
    """Return the topic, roles, settings, bans and mutes of a room; raises as `Chat.ask`."""
    state = room.state()
    topic = str(state.get("topic", ""))
    lines = [f"topic of {harmless(room.name)}: {harmless(topic)}" if topic else f"{harmless(room.name)} has no topic"]
    roles: dict[str, str] = state.get("roles", {})
    if roles:
        lines.append("roles: " + ", ".join(f"{harmless(name)} ({harmless(role)})" for name, role in roles.items()))
    settings: dict[str, Any] = state.get("settings", {})
    lines.append("settings: " + ", ".join(f"{name} {_shown(value)}" for name, value in settings.items()))
    for what in ("bans", "mutes"):
        named = [harmless(str(each.get("who", ""))) for each in state.get(what, [])]
        if named:
            lines.append(f"{what}: {', '.join(named)}")
    return lines


def _shown(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else harmless(str(value)) or "none"
