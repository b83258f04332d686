"""The chat node: clients, rooms, the room log, the relay to the other nodes, load reports.

It imports `wire`, `runtime` and `dialects`, and talks to brokers and clients by the messages of `wire` alone.
"""

from parlour.node.node import Node
from parlour.node.settings import NodeSettings

__all__ = ["Node", "NodeSettings"]
