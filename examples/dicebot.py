"""A bot that greets who comes and rolls dice: say `!roll 2d6` in its room.

Run it beside a cluster (`parlour up -d`): python examples/dicebot.py [ROOM] [HOST:PORT]
"""

from __future__ import annotations

import random
import re
import sys

from parlour.client import Disconnected, Message, ParlourError, Presence, Room, connect

ROLL = re.compile(r"!roll (\d{1,2})d(\d{1,3})")


def answer(room: Room, message: Message) -> None:
    """Roll the dice that a message asks for, if it does."""
    asked = ROLL.fullmatch(message.text.strip())
    # What was said before the bot came (a replay) has had its answer, or its chance.
    if asked is None or message.replay or int(asked[2]) == 0:
        return
    rolled = [random.randint(1, int(asked[2])) for _ in range(int(asked[1]))]
    room.say(f"{message.by} rolls {' + '.join(map(str, rolled)) or 'nothing'} = {sum(rolled)}")


def main(name: str = "lobby", broker: str = "127.0.0.1:6000") -> None:
    """Sit in the room until Ctrl-C; a lost connection is found again, and nothing is missed."""
    with connect(broker, name="dicebot", room=name) as chat:
        room = chat.join(name)
        print(f"rolling dice in {room.name} on {chat.node}; Ctrl-C ends it")
        for event in room.events():
            if isinstance(event, Message):
                answer(room, event)
            elif isinstance(event, Presence) and event.joined:
                room.say(f"welcome, {', '.join(event.joined)}!")
            elif isinstance(event, Disconnected):
                sys.exit(f"dicebot: {event.reason}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        pass
    except ParlourError as error:
        sys.exit(f"dicebot: {error}")
