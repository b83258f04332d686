"""MessagePack as another library has it, to judge ours.

This module owns the only import of `msgpack`, which brings no types of its own. It is pure; it must never be used by
anything but tests.
"""

from __future__ import annotations

from typing import Any, cast

import msgpack  # type: ignore[import-untyped]

__all__ = ["pack", "unpack"]


def pack(value: object) -> bytes:
    """Return the bytes that the other library makes of a value of plain types."""
    return cast("bytes", msgpack.packb(value))


def unpack(body: bytes) -> Any:
    """Return what the other library reads, in plain types."""
    return msgpack.unpackb(body)
