"""A vote of nodes on the fleet's room log: where they report different ones, the log that most of them use wins.

This module owns the votes of nodes that are not let in. It is pure and belongs to the thread that runs its balancer. It
must never count a node that only asks to join, as those who start nodes with a wrong log do again and again.
"""

from __future__ import annotations

from parlour.wire.control import Report

__all__ = ["LogVote"]

VOTES = 1000
"""Nodes outside of the fleet that are counted at most."""

LONGEST = 200
"""Characters of a log's identity, or of an instance's, at most: ours have 32."""


class LogVote:
    """The nodes that report from outside of the fleet, by the room log that they use."""

    def __init__(self) -> None:
        # By instance: the log, and until when the vote counts.
        self._votes: dict[str, tuple[str, float]] = {}

    def outvotes(self, report: Report, members: int, now: float, until: float) -> bool:
        """Count a node's vote until then; return whether its log has more nodes than the fleet's `members`.

        A fleet is only outvoted where its broker has started anew and heard a stray node first: a node that was never
        let in does not report.
        """
        self._votes = {instance: vote for instance, vote in self._votes.items() if vote[1] > now}
        self._votes.pop(report.instance, None)
        if report.stopping or len(self._votes) >= VOTES or max(len(report.instance), len(report.log)) > LONGEST:
            return False
        self._votes[report.instance] = (report.log, until)
        won = sum(log == report.log for log, _ in self._votes.values()) > members
        if won:
            self._votes.clear()
        return won
