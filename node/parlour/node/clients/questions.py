"""The limit of questions for pages of old messages that one client may have open.

This module owns the count; the client's own thread runs it. It must never refuse a client that waits for its answers.
"""

from __future__ import annotations

import time

from parlour.wire.limits import MAX_QUESTIONS

__all__ = ["PAUSE", "QuestionLimit"]

PAUSE = 1.0
"""Seconds without answers for a client that has too many questions open."""

MAX_REFUSALS = 256
"""Questions refused in a row, after which the node assumes that the client does not read the answers."""


class QuestionLimit:
    """The limit of questions for pages that one client may have open."""

    def __init__(self) -> None:
        self._open = 0
        self._refused = 0
        self._again_at = 0.0

    def restart(self) -> None:
        """Count from zero: all earlier questions are answered, and the node reads the next ones from the client now."""
        self._open = 0

    def allow(self) -> bool:
        """Count a question; return whether the node answers it."""
        self._open += 1
        now = time.monotonic()
        if now >= self._again_at and self._open <= MAX_QUESTIONS:
            self._refused = 0
            return True
        if now >= self._again_at:
            self._again_at = now + PAUSE
        self._refused += 1
        return False

    @property
    def exceeded(self) -> bool:
        """Whether the client goes on asking although the node refuses each question."""
        return self._refused > MAX_REFUSALS
