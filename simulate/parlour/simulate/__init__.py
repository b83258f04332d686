"""The balancer at sizes that no machine here has: fleets and crowds that are only counted, under a clock of their own.

It drives the broker's real `Balancer` and `Orders`, and beside them the policies that others use, through the same
scenarios with the same seeds: it imports `wire`, `runtime` and the pure modules of `broker`.
"""

__all__: list[str] = []
