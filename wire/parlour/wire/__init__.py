"""The language of parlour: frames, messages, limits and errors.

Pure: no socket, no thread, no ZeroMQ. Every other part imports this one; it imports none of them.
"""

from parlour.wire.errors import ParlourError, ProtocolError, UnavailableError, UsageError

__all__ = ["ParlourError", "ProtocolError", "UnavailableError", "UsageError"]
