"""The data of asks: one class for each word that a client may ask, with its fields and their checks.

This module is pure; any thread may use it. It must never know who asks.
"""

from __future__ import annotations

from msgspec import Struct

__all__ = ["WhoAmI"]


class WhoAmI(Struct, frozen=True):
    """`whoami`: who am I here?"""
