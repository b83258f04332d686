"""A bot that greets people and rolls dice: say `!roll 2d6` in its room.

Run it beside a cluster (`parlour up -d`): python examples/dicebot.py [ROOM] [--broker HOST:PORT]
"""

from __future__ import annotations

import argparse
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
    room.reply(message, f"{message.by} rolls {' + '.join(map(str, rolled)) or 'nothing'} = {sum(rolled)}")


def main(name: str, broker: str) -> None:
    """Sit in the room until Ctrl-C; a lost connection is found again, and nothing is missed."""
    with connect(broker, name="dicebot", room=name, bot=True) as chat:
        room = chat.join(name)
        print(f"rolling dice in {room.name} on {chat.node}; Ctrl-C ends it")
        for event in room.events():
            if isinstance(event, Message):
                answer(room, event)
            elif isinstance(event, Presence) and (people := [each for each in event.joined if each not in event.bots]):
                room.say(f"welcome, {', '.join(people)}!")
            elif isinstance(event, Disconnected):
                sys.exit(f"dicebot: {event.reason}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="A bot that greets people and rolls dice: say `!roll 2d6` in its room."
    )
    parser.add_argument("room", nargs="?", default="lobby", help="the room to sit in (default: %(default)s)")
    parser.add_argument("--broker", default="127.0.0.1:6000", help="HOST:PORT of a broker (default: %(default)s)")
    options = parser.parse_args()
    try:
        main(options.room, options.broker)
    except KeyboardInterrupt:
        pass
    except ParlourError as error:
        sys.exit(f"dicebot: {error}")
