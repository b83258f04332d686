"""The clients of a node: their connections and threads, their requests, and the delivery of messages to them.

This folder stands above `rooms`: a post goes from here to a room, and comes back through the interfaces that
`rooms.member` defines. It must never ask the room log about the order of messages: the room does that.
"""

__all__: list[str] = []
