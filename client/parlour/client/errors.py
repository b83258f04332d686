"""The errors of a chat. Each is a ParlourError, so a program may catch all of them at once or one by one.

This module owns the client's exception classes. They are raised on the thread that made the call. The text of an error
must never have more than one line.
"""

from __future__ import annotations

from parlour.wire.errors import ParlourError
from parlour.wire.messages import Error

__all__ = ["DeadlineError", "DisconnectedError", "NameTakenError", "NodeError", "SignInError", "refusal"]


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

    def reworded(self, text: str) -> NodeError:
        """Return the same refusal with another text."""
        return type(self)(text, self.code, self.retry_after)


class SignInError(NodeError):
    """The node does not let this person in: the password is wrong, the account is disabled, guests may not come, …."""


class NameTakenError(NodeError):
    """Somebody else has the name, or one that looks like it.

    Attributes:
        free: a free name that is like it; empty if the node knows none.
    """

    def __init__(self, text: str, code: str, retry_after: float | None = None, free: str = "") -> None:
        super().__init__(text, code, retry_after)
        self.free = free

    def reworded(self, text: str) -> NodeError:
        """Return the same refusal with another text."""
        return NameTakenError(text, self.code, self.retry_after, self.free)


class DisconnectedError(ParlourError):
    """There is no connection to a node: it was lost for good, or the chat was closed."""


class DeadlineError(ParlourError, TimeoutError):
    """No answer came in time. The request may have been done all the same."""


SIGN_IN_CODES = frozenset(
    {"bad_login", "too_many_logins", "disabled", "no_guests", "bad_invitation", "no_registration", "bad_mechanism"}
)
"""Codes of refusals that say that this person is not let in so."""


def refusal(error: Error) -> NodeError:
    """Return the error to raise for an `error` of a node."""
    if error.code == "name_taken":
        return NameTakenError(error.text, error.code, error.retry_after, error.name or "")
    kind = SignInError if error.code in SIGN_IN_CODES else NodeError
    return kind(error.text, error.code, error.retry_after)
