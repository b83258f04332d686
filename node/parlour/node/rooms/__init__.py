"""The rooms of a node: they order and deliver posts, keep the list of members, and repair what the relay lost.

This folder stands above `cluster` and `log`, and below `clients`: it knows clients by its own interfaces alone.
"""

__all__: list[str] = []
