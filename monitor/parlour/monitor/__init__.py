"""A cluster seen from outside: the feed of load reports, the table of the fleet, and the commands for operators.

This part imports `wire` and `runtime`. To change a cluster it asks a broker.
"""

from parlour.monitor.feed import LoadFeed

__all__ = ["LoadFeed"]
