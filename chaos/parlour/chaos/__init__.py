"""The proof: a cluster of real processes, clients that talk, faults done to it at random, and a verdict.

It starts brokers, nodes and a Redis server as anybody would, by their commands, and knows of them only what a client
knows: it imports `wire`, `runtime` and `client`. `replay` plays recorded days on a cluster that runs already.
"""

__all__: list[str] = []
