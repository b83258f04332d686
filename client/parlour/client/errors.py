"""The errors of a chat. Each is a ParlourError, so a program may catch all of them at once or one by one.

This module owns the client's exception classes. They are raised on the thread that made the call. The text of an error
must never have more than one line.
"""

from __future__ import annotations

from parlour.wire.errors import ParlourError

__all__ = ["DeadlineError", "DisconnectedError", "NodeError"]


class NodeError(ParlourError):
    """The node refused a request.

    Attributes:
        code: a short, stable word (`"unavailable"`, `"full"`, `"bad_ref"`, …).
        retry_after: seconds after which the same request may succeed, or None.
    """

    def __init__(self, text: str, code: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.retry_after = retry_after


class DisconnectedError(ParlourError):
    """There is no connection to a node: it was lost for good, or the chat was closed."""


class DeadlineError(ParlourError, TimeoutError):
    """No answer came in time. The request may have been done all the same."""
