"""The rooms of a node: posts in, one order, who is here, and what the room log and the other nodes add to it.

This folder stands above `cluster` and `log`, and below `clients`: it knows members by interfaces of its own alone.
"""

__all__: list[str] = []
