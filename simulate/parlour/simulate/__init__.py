"""Simulations of the balancer at any size: nodes and clients are only counted, under a clock of their own.

They run the broker's real `Balancer` and `Orders`, and common other policies, through the same scenarios with the same
seeds. The part imports `wire`, `runtime` and the pure modules of `broker`.
"""

__all__: list[str] = []
