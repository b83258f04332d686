"""The chat node: clients, rooms, the room log, the relay to the other nodes, load reports.

It imports `wire` and `runtime`; it knows of brokers and clients only what `wire` says.
"""

from parlour.node.node import Node
from parlour.node.settings import NodeSettings

__all__ = ["Node", "NodeSettings"]
