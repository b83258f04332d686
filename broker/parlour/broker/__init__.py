"""Who goes where: the pure balancer, and the one-thread service around it that clients, nodes and monitors talk to."""

from parlour.broker.balancer import Balancer
from parlour.broker.service import Broker
from parlour.broker.settings import BrokerSettings

__all__ = ["Balancer", "Broker", "BrokerSettings"]
