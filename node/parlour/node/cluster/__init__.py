"""The node in its cluster: the relay to its peers, the links to its brokers, and the watches for its operator.

This folder stands above `log` and below `rooms`, which it knows by its own interfaces alone.
"""

__all__: list[str] = []
