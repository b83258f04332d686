"""The broker: a pure balancer that chooses a node for each client, and the one-thread service around it."""

from parlour.broker.balancer import Balancer
from parlour.broker.service import Broker
from parlour.broker.settings import BrokerSettings

__all__ = ["Balancer", "Broker", "BrokerSettings"]
