"""The errors of parlour, with one root, so that one `except ParlourError` is enough for a program.

This module owns the exception classes that cross the borders of parts; any thread may raise them. It must never import
anything outside the standard library.
"""

from __future__ import annotations

__all__ = ["ParlourError", "ProtocolError", "UnavailableError", "UsageError"]


class ParlourError(Exception):
    """The root of every error that parlour raises on purpose; its text is one line that says what to do."""


class ProtocolError(ParlourError):
    """The peer's fault: its message cannot be decoded, is too large, or breaks a rule of the protocol.

    Attributes:
        code: a short, stable word for programs (`"bad_frame"`, `"frame_too_large"`, `"bad_version"`, …).
    """

    def __init__(self, text: str, code: str = "bad_frame") -> None:
        super().__init__(text)
        self.code = code


class UsageError(ParlourError, ValueError):
    """The caller's fault: an argument is outside the limits of `wire.limits`."""


class UnavailableError(ParlourError):
    """A needed part of the cluster does not answer or cannot work now; trying again later may help."""
