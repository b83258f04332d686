"""The choice of a connection's dialect by the first bytes that the client sends.

This module owns the list of dialects; it runs on the client's thread. It must never need more than the first byte
that is not white space, since nobody knows when the next one comes.
"""

from __future__ import annotations

from parlour.dialects.dialect import Dialect
from parlour.dialects.frames import FramesDialect
from parlour.dialects.jsonlines import BOM, WHITE, JsonLinesDialect
from parlour.wire.errors import ProtocolError

__all__ = ["recognise"]


def recognise(first: bytes) -> Dialect:
    """Return a dialect for a connection that begins with these bytes, at least one; then feed them to it.

    Raises ProtocolError (`frame_too_large`, as older nodes answer) if no dialect begins so.
    """
    if first.startswith(b"\0"):  # of a length below 16 MiB
        return FramesDialect()
    # White space alone may come before an object, and before nothing else that is understood here.
    if first.removeprefix(BOM).lstrip(WHITE)[:1] in (b"{", b""):
        return JsonLinesDialect()
    raise ProtocolError(
        f"no frame of parlour's, as it begins with {first[:4]!r}: send frames, or JSON objects, one on each line",
        "frame_too_large",
    )
