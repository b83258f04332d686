"""The balancer's words: why it chose a node, why it could choose none, and why a node may not join.

This module owns the texts of decisions that people read. Its functions are pure and may run on any thread. It must
never decide anything, nor quote more of a peer's text than fits in a line.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from parlour.broker.nodes import FleetNode, NodeSnapshot
from parlour.wire.control import Refusal, Report
from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_NAME, check_protocol

__all__ = ["listed", "reason_chosen", "reason_excluded", "reason_none", "refusal_for", "unknown_node"]

LONGEST = 200
"""Characters of a peer's text that are quoted at most."""

_NO_NODE = "no chat node is alive: start one with `parlour node`"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def refusal_for(report: Report, node: FleetNode | None, log: str | None, nodes: int) -> Refusal | None:
    """Return the refusal of a report that this fleet cannot take, or None.

    `node` is the node that the fleet has by this name. The fleet has `nodes` nodes, which all use the room log `log`.
    """

    def refuse(code: str, text: str) -> Refusal:
        return Refusal(node=report.node, instance=report.instance, text=text, code=code)

    try:
        check_protocol(report.protocol)
    except UsageError as error:
        return refuse("bad_version", f"node {report.node}: {error}")
    if node is not None and node.report.instance != report.instance:
        return refuse(
            "name_taken",
            f"a node named {report.node} is already in the fleet at {node.report.address}: choose another --name",
        )
    if log is not None and log != report.log:
        return refuse(
            "other_log",
            f"node {report.node} uses another room log ({report.log[:LONGEST]}) than the fleet of {nodes} ({log}): "
            "start it with the --log of the others",
        )
    return None


def reason_chosen(best: Sequence[NodeSnapshot], failed: Collection[str], hurried: bool = False) -> str:
    """Return why the first node was chosen; `hurried` means that nodes of lower load could take no more just then."""
    chosen = best[0]
    if hurried:
        reason = f"the lowest load, {chosen.load:.4g}, of the nodes that can take one more client this second"
    elif len(best) == 1:
        reason = "the only node that can take a client"
    elif best[1].load == chosen.load:
        reason = f"next in turn of the nodes with the lowest load, {chosen.load:.4g}"
    else:
        reason = f"the lowest load, {chosen.load:.4g}"
    return f"{reason} (the client could not reach {listed(sorted(failed))})" if failed else reason


def reason_excluded(node: NodeSnapshot, failed: Collection[str]) -> str:
    """Return why this node cannot take a client that could not reach the nodes `failed`, or "" if it can."""
    if node.node in failed:
        return "the client could not reach it"
    if node.state == "draining":
        return "it is draining"
    if node.state == "full":
        return f"it is full ({node.clients + node.pending} of {node.capacity})"
    return ""


def reason_none(nodes: int, full: int, draining: int, failed: int) -> tuple[str, str]:
    """Return the code and the reason if none of the `nodes` nodes can take the client."""
    if not nodes:
        return "no_node", _NO_NODE
    counts = ((full, "full"), (draining, "draining"), (failed, "out of the client's reach"))
    state = ", ".join(f"{count} {word}" for count, word in counts if count)
    none = "the only node cannot take a client" if nodes == 1 else f"none of the {nodes} nodes can take a client"
    text = f"{none} ({state}): try again, or start another node"
    return "full" if full else "no_node", text


def unknown_node(name: str) -> str:
    """Return that the fleet has no node of this name; a name from outside may be long and is cut."""
    return f"there is no node named {name[:MAX_NAME]!r} in the fleet"
