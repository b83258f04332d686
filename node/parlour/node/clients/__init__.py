"""The clients of a node: their connections and threads, what each of them may ask, and what is delivered to them.

This folder stands above `rooms`: a post goes from here to a room, and comes back through the interfaces that
`rooms.member` defines. It must never ask the room log about the order of messages: that is a room's.
"""

__all__: list[str] = []
