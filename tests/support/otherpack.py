"""MessagePack by another library, to check parlour's encoding.

This module owns the only import of `msgpack`, which has no type annotations. It is pure. Only tests may use it.
"""

from __future__ import annotations

from typing import Any, cast

import msgpack  # type: ignore[import-untyped]

__all__ = ["pack", "unpack"]


def pack(value: object) -> bytes:
    """Return the bytes that the other library makes of a value of plain types."""
    return cast("bytes", msgpack.packb(value))


def unpack(body: bytes) -> Any:
    """Return the value that the other library decodes, in plain types."""
    return msgpack.unpackb(body)
