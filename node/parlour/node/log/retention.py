"""How much of each room's history is kept, and the syntax of that setting.

This module is pure. It must never allow recent messages to be forgotten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from parlour.wire.errors import UsageError

__all__ = ["RECENT", "Retention"]

RECENT = 600.0
"""Seconds for which everything is kept: the log must recognize a post that is sent again, or it logs it twice."""

_UNITS = {"m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Retention:
    """What each room keeps: its last `count` messages, and none older than `age` seconds; None means no limit."""

    count: int | None = None
    age: float | None = None

    @classmethod
    def parse(cls, text: str) -> Retention:
        """Parse a text such as `10000`, `30d` or `10000,30d`; raises UsageError."""
        found = re.fullmatch(r"([0-9]{1,12})?(?:(?:^|(?<=[0-9]),)([0-9]{1,6})([mhd]))?", text)
        if found is None or not text:
            raise UsageError(f"what to keep is a COUNT, an AGE such as 90m, 12h or 30d, or COUNT,AGE, not {text!r}")
        count, age, unit = found.groups()
        retention = cls(int(count) if count else None, int(age) * _UNITS[unit] if age else None)
        if retention.age is not None and retention.age < RECENT:
            raise UsageError(f"the last {RECENT / 60:g} minutes are always kept: give a longer age than {age}{unit}")
        return retention
