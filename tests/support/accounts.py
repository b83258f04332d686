"""Clients that are signed in, and their accounts.

This module owns nothing that outlives a test: `people` closes the clients. Everybody has the account of the same name,
but people whose names begin with `guest`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from parlour.directory.directory import Directory
from support.cluster import Cluster, RawClient

__all__ = ["people", "token_of"]


def token_of(directory: Directory, name: str) -> str:
    """Return a device token of the account, which is made if there is none; a guest has an empty one."""
    if name.startswith("guest"):
        return ""
    if directory.accounts.get(name) is None:
        directory.accounts.add(name, None)
    return directory.tokens.make(name, "test")


@contextmanager
def people(running: Cluster, *names: str, room: str = "") -> Iterator[list[RawClient]]:
    """Connect clients of these names, spread over the nodes, perhaps in a room already."""
    directory = running.nodes[0].people.directory
    with ExitStack() as closing:
        clients: list[RawClient] = []
        for index, name in enumerate(names):
            node, token = running.nodes[index % len(running.nodes)].name, token_of(directory, name)
            clients.append(closing.enter_context(RawClient(running.address, name, node, token=token)))
            if room:
                clients[-1].join(room)
        yield clients
