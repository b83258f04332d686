"""A vote on the fleet's room log: if nodes report different logs, the log that most of them use wins.

This module owns the votes of nodes outside the fleet. It is pure and belongs to the thread that runs its balancer. It
must never count a node that only asks to join, because a node started with a wrong log asks again and again.
"""

from __future__ import annotations

from parlour.wire.control import Report

__all__ = ["LogVote"]

VOTES = 1000
"""Nodes outside the fleet that are counted at most."""

LONGEST = 200
"""Characters of a log's identity or an instance's at most; parlour's own have 32."""


class LogVote:
    """The votes of nodes that report but are not in the fleet."""

    def __init__(self) -> None:
        # By instance: the log, and until when the vote counts.
        self._votes: dict[str, tuple[str, float]] = {}

    def outvotes(self, report: Report, members: int, now: float, until: float) -> bool:
        """Count a node's vote until `until`; return whether more nodes use its log than the fleet's `members`.

        This happens only if a broker has restarted and heard a stray node first: a node that never joined a fleet does
        not report.
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
