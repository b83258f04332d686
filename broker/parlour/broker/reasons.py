"""Why a node was chosen, why none could be, and why one may not join: the words of the balancer.

This module owns the texts that people read of a decision. Its functions are pure and may run on any thread. It must
never decide anything, nor put in more of a peer's words than a line can hold.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from parlour.broker.nodes import FleetNode, NodeSnapshot
from parlour.wire.control import Refusal, Report
from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_NAME, check_protocol

__all__ = ["listed", "reason_chosen", "reason_excluded", "reason_none", "refusal_for", "unknown_node"]

LONGEST = 200
"""Characters of a peer's words at most."""

_NOBODY = "no chat node is alive: start one with `parlour node`"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def refusal_for(report: Report, node: FleetNode | None, log: str | None, nodes: int) -> Refusal | None:
    """Return why a report cannot be of the fleet's `node`, or a new one of a fleet of so many with a log; or None."""

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
    """Return why the first was chosen before the others; `hurried` if nodes of lower load could take no more now."""
    chosen = best[0]
    if hurried:
        reason = f"the lowest load, {chosen.load:.4g}, of those that can take one more this second"
    elif len(best) == 1:
        reason = "the only node that can take a client"
    elif best[1].load == chosen.load:
        reason = f"next in turn of those with the lowest load, {chosen.load:.4g}"
    else:
        reason = f"the lowest load, {chosen.load:.4g}"
    return f"{reason}, but for {listed(sorted(failed))}, which the client could not reach" if failed else reason


def reason_excluded(seen: NodeSnapshot, failed: Collection[str]) -> str:
    """Return why this node cannot be taken by a client that could not reach some, or nothing if it can."""
    if seen.node in failed:
        return "the client could not reach it"
    if seen.state == "draining":
        return "it is draining"
    if seen.state == "full":
        return f"it is full ({seen.clients + seen.pending} of {seen.capacity})"
    return ""


def reason_none(nodes: int, full: int, draining: int, failed: int) -> tuple[str, str]:
    """Return the code and the reason when none of so many nodes can take the client."""
    if not nodes:
        return "no_node", _NOBODY
    counts = ((full, "full"), (draining, "draining"), (failed, "out of the client's reach"))
    state = ", ".join(f"{count} {word}" for count, word in counts if count)
    none = "the only node cannot take a client" if nodes == 1 else f"none of the {nodes} nodes can take a client"
    text = f"{none} ({state}): try again, or start another node"
    return "full" if full else "no_node", text


def unknown_node(name: str) -> str:
    """Return that there is no node of a name that came from outside, of any length, to be kept."""
    return f"there is no node named {name[:MAX_NAME]!r} in the fleet"
