"""A cluster from outside: the feed of load reports, the table made of it, the commands that show and tend it.

It imports `wire` and `runtime`; what it changes in the cluster it asks a broker for.
"""

from parlour.monitor.feed import LoadFeed

__all__ = ["LoadFeed"]
