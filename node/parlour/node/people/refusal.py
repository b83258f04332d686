"""The refusal of a client, with all that the client is told.

This module owns that error alone; any thread may raise it.
"""

from __future__ import annotations

from parlour.wire.errors import ProtocolError
from parlour.wire.messages import Error

__all__ = ["RefusedClientError", "bad_login"]


class RefusedClientError(ProtocolError):
    """The node does not do what a client asked; before its hello is answered, the node ends the connection.

    Attributes:
        retry_after: seconds after which the same request may succeed; None if it need not be repeated.
        name: a free name that is like the one that the client wanted.
    """

    def __init__(self, code: str, text: str, retry_after: float | None = None, name: str | None = None) -> None:
        super().__init__(text, code)
        self.retry_after = retry_after
        self.name = name

    def told(self, fatal: bool = False, ask: int | None = None) -> Error:
        """Return the message for the client; `fatal` if the connection ends with it, `ask` if it answers an ask."""
        return Error(self.code, str(self), retry_after=self.retry_after, fatal=fatal, ask=ask, name=self.name)


def bad_login() -> RefusedClientError:
    """Return the refusal of a wrong sign-in; it is the same whether the account exists or not."""
    return RefusedClientError("bad_login", "the name or the password, or what stands for it, is wrong")
