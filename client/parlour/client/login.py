"""How the commands sign in: by a password from a file, the environment or a prompt, or by this device's token.

This module owns that order; it runs on the main thread. It must never ask for anything where nobody can answer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from parlour.client.chat import Chat, connect
from parlour.client.errors import DeadlineError, DisconnectedError, NameTakenError, NodeError, SignInError
from parlour.client.kept_tokens import KeptToken, KeptTokens
from parlour.wire.errors import UsageError

__all__ = ["Login", "password_option"]

F = TypeVar("F", bound=Callable[..., Any])

ATTEMPTS = 3
"""Passwords that a person may try."""


def password_option(command: F) -> F:
    """Add `--password-file`; the environment variable PARLOUR_PASSWORD serves in its place."""
    return click.option(
        "--password-file",
        type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
        help="The file with your account's password, - for standard input.  [env var: PARLOUR_PASSWORD]",
    )(command)


class Login:
    """The sign-in of one command."""

    def __init__(self, brokers: tuple[str, ...], password_file: Path | None, asking: bool = False) -> None:
        """Sign in at these brokers; with `asking`, a person can answer questions. Raises UsageError for a bad file."""
        self._brokers = brokers
        self._asking = asking
        self._password = _read(password_file) if password_file else os.environ.get("PARLOUR_PASSWORD", "")

    def connect(self, name: str, chosen: bool, **options: Any) -> Chat:
        """Return the open chat of a person; `options` are those of `connect`.

        If somebody else has the name, and it was not `chosen` but comes from the system, the chat gets a free one.
        Raises as `connect` does.
        """
        if self._password:
            return connect(self._brokers, name, password=self._password, **options)
        kept = KeptTokens().get(self._brokers[0], name)
        if kept is not None:
            try:
                return connect(self._brokers, name, token=kept.token, **options)
            except SignInError as error:
                if error.code != "bad_login":
                    raise
                KeptTokens().remove(self._brokers[0], name)
                signed_out = error.reworded(f"this device was signed out of {name}: sign in with the password")
                if not self._asking:
                    raise signed_out from None
                return self._ask(name, signed_out, options)
        try:
            return connect(self._brokers, name, **options)
        except SignInError as error:
            if error.code != "no_guests" or not self._asking:
                raise
            return self._ask(name, error, options)
        except NameTakenError as error:
            if self._asking:
                return self._ask(name, error, options)
            if chosen or not error.free:
                raise
            return connect(self._brokers, error.free, **options)

    def _ask(self, name: str, reason: NodeError, options: dict[str, Any]) -> Chat:
        """Ask for the password of an account, sign in, and keep a token for the next time."""
        free = reason.free if isinstance(reason, NameTakenError) else ""
        click.echo(f"parlour: {reason}", err=True)
        question = f"Password of {name}" + (f", or Enter to be {free}" if free else "")
        for attempt in range(1, ATTEMPTS + 1):
            password: str = click.prompt(question, hide_input=True, default="", show_default=False, err=True)
            if not password:
                if not free:
                    raise reason
                return connect(self._brokers, free, **options)
            try:
                chat = connect(self._brokers, name, password=password, **options)
            except SignInError as error:
                if error.code != "bad_login" or attempt == ATTEMPTS:
                    raise
                click.echo(f"parlour: {error}", err=True)
                continue
            try:
                self.keep(chat)
            except (DeadlineError, DisconnectedError) as error:  # the person is in, and is asked again the next time
                click.echo(f"parlour: this device is not kept signed in: {error}", err=True)
            return chat
        raise reason

    def keep(self, chat: Chat) -> None:
        """Get a token for this device, so that the password need not be typed the next time."""
        label = f"{os.environ.get('USER', 'somebody')}@{socket.gethostname()}"[:64]
        told = chat.ask("token", {"label": label})
        token = str(told["token"])
        KeptTokens().put(self._brokers[0], chat.account, KeptToken(token, str(told["id"])))
        chat.sign_in_with(password="", token=token)  # a password may change, and its check takes longer

    def forget(self, name: str) -> None:
        """Sign this device out: revoke its token and forget it; raises UsageError if it has none."""
        kept = KeptTokens().get(self._brokers[0], name)
        if kept is None:
            raise UsageError(f"this device is not signed in as {name}: nothing is to be done")
        try:
            with connect(self._brokers, name, token=kept.token, observer=True) as chat:
                chat.revoke(kept.device)
        except SignInError as error:
            if error.code != "bad_login":
                raise
        KeptTokens().remove(self._brokers[0], name)


def _read(file: Path) -> str:
    """Return the first line of a password file."""
    try:
        with click.open_file(str(file), encoding="utf-8") as opened:
            password: str = opened.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"cannot read the password in {file} ({what}): give a file whose first line it is") from None
    if not password:
        raise UsageError(f"the first line of {file} is empty: write the password there")
    return password
