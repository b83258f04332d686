"""The errors of a chat, each a ParlourError, so that a program may catch all of them at once or one by one.

This module owns the client's exception classes; they are raised on the thread that asked for something. None must
ever hold more than one line of text.
"""

from __future__ import annotations

from parlour.wire.errors import ParlourError

__all__ = ["DeadlineError", "DisconnectedError", "NodeError"]


class NodeError(ParlourError):
    """The node answered, and the answer was no.

    Attributes:
        code: a short, stable word (`"unavailable"`, `"full"`, …).
        retry_after: seconds after which asking again may help, or None.
    """

    def __init__(self, text: str, code: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.retry_after = retry_after


class DisconnectedError(ParlourError):
    """There is no connection to a node: it was lost, or the chat was closed."""


class DeadlineError(ParlourError, TimeoutError):
    """No answer came within the time given. What was asked for may be done all the same."""
