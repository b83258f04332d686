"""What a node has to do with others: the relay to its peers, the reports to its brokers, the watches for its operator.

This folder stands above `log` and below `rooms`, which it knows by interfaces of its own alone.
"""

__all__: list[str] = []
