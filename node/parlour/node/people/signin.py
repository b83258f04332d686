"""Signing in: what a client shows (a password, a proof, a token) becomes an account, or a refusal.

This module owns that decision; clients' threads call it, and passwords are checked on the threads of the password
queue. It must never tell whether an account exists, nor keep a password.
"""

from __future__ import annotations

import secrets

from msgspec.structs import replace

from parlour.directory.accounts import Account
from parlour.directory.directory import Directory
from parlour.directory.names import NameTakenError
from parlour.directory.passwords import ITERATIONS, Password, matches
from parlour.node.people.attempts import Attempts
from parlour.node.people.leases import name_taken
from parlour.node.people.passwordqueue import PasswordQueue
from parlour.node.people.refusal import RefusedClientError
from parlour.node.people.scram import Scram, standin_salt
from parlour.node.people.webtoken import WebTokens
from parlour.wire.skeleton import skeleton

__all__ = ["SignIn"]

SECRET = "secret/signin"
"""The key of the document with the secret from which names without an account have a salt, the same on all nodes."""


class SignIn:
    """The ways to sign in to an account. Each raises RefusedClientError, or DirectoryError if the directory fails."""

    def __init__(self, directory: Directory, passwords: PasswordQueue, tokens: WebTokens | None) -> None:
        self._directory = directory
        self._passwords = passwords
        self._tokens = tokens
        self._attempts = Attempts(directory)
        self._secret = b""

    def by_password(self, name: str, password: str, address: str) -> Account:
        """Return the account of this name if the password is its own."""
        return self._passwords.do(lambda: self._check_password(name, password, address))

    def _check_password(self, name: str, password: str, address: str) -> Account:
        # Checked on these two threads, so that no more than two guesses run while the first failure is not noted yet.
        self._attempts.check(name, address)
        account, known = self._known(name)
        if not matches(known, password) or account is None:
            raise self._attempts.failed(name, address, "password")
        return self._admit(account, address)

    def scram_salt(self, name: str) -> tuple[bytes, int]:
        """Return the salt and the number of iterations of a name, also of one without an account."""
        _, known = self._known(name)
        if known is not None:
            return known.salt, known.iterations
        return standin_salt(self._shared_secret(), skeleton(name)), ITERATIONS

    def by_scram(self, scram: Scram, final: bytes, address: str) -> tuple[Account, bytes]:
        """Return the account whose password the client has proved to know, and the server's own proof."""

        def check() -> tuple[Account, bytes]:
            self._attempts.check(scram.user, address)
            account, known = self._known(scram.user)
            answer = scram.verify(final, known)
            if answer is None or account is None:
                raise self._attempts.failed(scram.user, address, "SCRAM")
            return self._admit(account, address), answer

        return self._passwords.do(check)

    def by_token(self, name: str, token: str, address: str) -> Account:
        """Return the account of this name if this is the token of one of its devices.

        A right token never waits, so that somebody who guesses passwords locks no device out.
        """
        owner = self._directory.tokens.account(token)
        account = (
            self._directory.accounts.get(owner) if owner is not None and skeleton(owner) == skeleton(name) else None
        )
        if account is None:
            self._attempts.check(name, address)
            raise self._attempts.failed(name, address, "token")
        return self._admit(account, address)

    def by_web_token(self, name: str, token: str, session: str, address: str) -> Account:
        """Return the account that a token of the operator's site names; make it if it is new."""
        if self._tokens is None:
            raise RefusedClientError("bad_login", "this node takes no JWT: it was started without --jwt-key and --jwks")
        claims = self._tokens.verify(token)
        if claims is None or skeleton(claims.name) != skeleton(name):
            self._attempts.check(name, address)
            raise self._attempts.failed(name, address, "JWT")
        account = self._directory.accounts.get(name)
        if account is None:
            try:
                account = self._directory.accounts.add(claims.name, None, by=session)
            except NameTakenError as error:
                account = self._directory.accounts.get(name)  # another device may just have made it
                if account is None:
                    raise name_taken(error) from None
        account = self._admit(account, address)
        return replace(account, operator=account.operator or claims.operator)

    def _admit(self, account: Account, address: str) -> Account:
        """Return an account whose owner has proved to be it, unless it may not come in."""
        if account.disabled:
            raise RefusedClientError("disabled", f"the account {account.name} is disabled: ask an operator")
        self._attempts.succeeded(account.name, address)
        return account

    def _known(self, name: str) -> tuple[Account | None, Password | None]:
        """Return an account and its password; both questions are asked, whatever the answers, to tell no difference."""
        return self._directory.accounts.get(name), self._directory.accounts.password(name)

    def _shared_secret(self) -> bytes:
        """Return the secret that all nodes share; the first node that needs it makes it."""
        while not self._secret:
            document = self._directory.store.get(SECRET)
            if document is not None:
                self._secret = document.value
            else:
                self._directory.store.put(SECRET, secrets.token_bytes(32))
        return self._secret
