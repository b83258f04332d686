"""A sign-in by SASL (RFC 4422) on one connection, before the hello: PLAIN or SCRAM-SHA-256, step by step.

This module owns the state of one exchange; the client's own thread runs it. It must never know how the steps travel:
the same exchange serves frames, JSON lines and other dialects.
"""

from __future__ import annotations

import base64

from parlour.directory.accounts import Account
from parlour.node.people.refusal import RefusedClientError
from parlour.node.people.scram import Scram
from parlour.node.people.signin import SignIn
from parlour.wire.errors import UsageError
from parlour.wire.limits import check_name
from parlour.wire.signin import Auth, Challenge

__all__ = ["MECHANISMS", "Exchange"]

MECHANISMS = ("SCRAM-SHA-256", "PLAIN")
"""The mechanisms, the best one first."""


class Exchange:
    """The sign-in of one connection.

    Attributes:
        account: the account that the client has signed in to; None before.
    """

    def __init__(self, signin: SignIn, address: str) -> None:
        self.account: Account | None = None
        self._signin = signin
        self._address = address
        self._mechanism = ""
        self._scram: Scram | None = None

    def step(self, auth: Auth) -> Challenge:
        """Return the answer to a step of the client; raises RefusedClientError, after which the client may begin anew.

        Raises DirectoryError if the directory does not answer.
        """
        try:
            if auth.mechanism or not self._mechanism:
                self._begin(auth.mechanism.upper())
            answer = self._step(base64.b64decode(auth.data, validate=True))
        except BaseException as error:
            self._mechanism, self._scram = "", None
            if isinstance(error, UsageError):
                raise RefusedClientError("bad_request", str(error)) from None
            if isinstance(error, ValueError):
                raise RefusedClientError("bad_request", "the data of auth is not in base64") from None
            raise
        return Challenge(base64.b64encode(answer).decode(), self.account is not None)

    def _begin(self, mechanism: str) -> None:
        self.account, self._scram = None, None
        if mechanism == "EXTERNAL":
            text = "EXTERNAL needs a client certificate, and this node has no TLS: sign in with a password"
            raise RefusedClientError("bad_mechanism", text)
        if mechanism not in MECHANISMS:
            text = f"this node has the mechanisms {' and '.join(MECHANISMS)}, not {mechanism!r}"
            raise RefusedClientError("bad_mechanism", text)
        self._mechanism = mechanism

    def _step(self, data: bytes) -> bytes:
        """Return the server's data; empty if the client is to begin, or if nothing is left to say."""
        if not data:
            return b""
        if self._mechanism == "PLAIN":
            name, password = _plain(data)
            self.account = self._signin.by_password(check_name(name), password, self._address)
            return b""
        if self._scram is None:
            self._scram = scram = Scram(data)
            return scram.challenge(*self._signin.scram_salt(check_name(scram.user)))
        self.account, answer = self._signin.by_scram(self._scram, data, self._address)
        return answer


def _plain(data: bytes) -> tuple[str, str]:
    """Return the name and the password in a message of PLAIN (RFC 4616)."""
    try:
        identity, name, password = data.decode().split("\0")
    except ValueError:
        raise UsageError("PLAIN: the message is NUL, name, NUL, password") from None
    if identity not in ("", name):
        raise UsageError("PLAIN: a client may sign in as itself alone: leave the authorization identity out")
    return name, password
