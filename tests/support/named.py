"""A person who reads the lines of a chat, by names alone.

This module owns one class, which has no behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Named"]


@dataclass
class Named:
    """A person with these names."""

    name: str
    display: str = ""
