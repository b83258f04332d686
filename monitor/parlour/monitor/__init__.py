"""Looking at a cluster from outside: the feed of load reports, the table made of it, and the commands that show it.

It imports `wire` and `runtime`; it never changes anything in the cluster.
"""

from parlour.monitor.feed import LoadFeed

__all__ = ["LoadFeed"]
