"""The proof: a cluster of real processes, clients that talk, random faults, and a verdict on what the clients saw.

It starts brokers, nodes and a Redis server by their commands, as anybody would, and knows of them only what a client
knows: it imports `wire`, `runtime` and `client`. `replay` plays recorded days on a cluster that runs already.
"""

__all__: list[str] = []
