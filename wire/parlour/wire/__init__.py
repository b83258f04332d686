"""The language of parlour: frames, messages, limits and errors.

It is pure: no socket, no thread, no ZeroMQ. Every other part imports it; it imports no other part.
"""

from parlour.wire.errors import ParlourError, ProtocolError, UnavailableError, UsageError

__all__ = ["ParlourError", "ProtocolError", "UnavailableError", "UsageError"]
