"""A cluster of a broker and a few nodes in the test's own process, for clients to talk to.

This module owns starting its nodes and closing what connects to them; what it starts are the real parts, on ports of
the system's choice. It must never stand in for one of them.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from parlour.broker import Broker
from parlour.client import Chat, connect
from parlour.node import Node, NodeSettings
from parlour.runtime.asking import ask
from parlour.wire.control import Decisions, Why

__all__ = ["Cluster"]


@dataclass
class Cluster:
    """A running broker, its nodes, and chats that are closed before them."""

    broker: Broker
    nodes: list[Node]
    log: str
    closing: ExitStack

    @property
    def address(self) -> str:
        """Where the broker answers."""
        return self.broker.address

    def add_node(self, name: str, **changes: Any) -> Node:
        """Start a node, with these changes to quick settings; it is in the fleet when this returns."""
        settings = NodeSettings(
            brokers=(self.address,),
            name=name,
            capacity=500,
            log=self.log,
            report_interval=0.1,
            presence_interval=0.05,
            roster_wait=0.1,
        )
        node = Node(replace(settings, **changes))
        node.start()
        self.closing.callback(node.stop)
        self.nodes.append(node)
        return node

    def chat(self, name: str) -> Chat:
        """Connect under a name."""
        return self.closing.enter_context(connect(self.address, name))

    def node_of(self, chat: Chat) -> Node:
        """Return the node that a chat is connected to."""
        return next(node for node in self.nodes if node.name == chat.node)

    def node_where(self, name: str) -> Node:
        """Return the node that the broker sent the client of this name to."""
        _, reply = ask([self.address], Why(name))
        assert isinstance(reply, Decisions)
        return next(node for node in self.nodes if node.name == reply.found[0].node)
