"""What the commands of the directory have in common: how they open it, and how they ask for a password.

This module owns the options that all of them have; it runs on the main thread. It must never print a password, nor take
one from the command line, where every user of the machine could read it.
"""

from __future__ import annotations

import functools
import getpass
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import click

from parlour.directory.directory import Directory
from parlour.directory.opening import new_file, open_store
from parlour.runtime.log_urls import default_log, parse_log_url, shown_log_url
from parlour.runtime.operator_messages import print_error
from parlour.runtime.options import brokers_option
from parlour.wire.errors import UsageError

__all__ = ["ask_password", "chosen_log", "directory_options", "log_option", "password_option", "user"]

_CHOSEN = "parlour.log"
"""The key under which click's context has the URL of the log."""

LONGEST = 4096
"""Bytes of a password that are read, at most; the directory takes fewer."""


def log_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--log` and `--broker`, and give the command the URL of the log that they name as its first argument."""

    @click.option(
        "--log", metavar="URL", help="The room log.  [default: a SQLite file in your data directory, one per broker]"
    )
    @brokers_option
    @functools.wraps(command)
    def chosen(brokers: Sequence[str], log: str | None, **arguments: Any) -> None:
        if log is None:
            log, _ = default_log(min(brokers))  # as a node does
        if parse_log_url(log).engine == "memory":
            raise UsageError("the directory of memory:// is in the node's process, where no command can reach it")
        click.get_current_context().meta[_CHOSEN] = shown_log_url(log)
        command(log, **arguments)

    return chosen


def chosen_log() -> str:
    """Return the URL of the log that the present command works on, as it may be shown."""
    return str(click.get_current_context().meta[_CHOSEN])


def directory_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--log` and `--broker`, and give the command the directory that they name as its first argument."""

    @log_option
    @functools.wraps(command)
    def opened(log: str, **arguments: Any) -> None:
        if path := new_file(log):
            print_error(f"note: a new directory begins in {path}")
        with closing(open_store(log)) as store:
            command(Directory(store), **arguments)

    return opened


def password_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--password-stdin`."""
    return click.option(
        "--password-stdin", is_flag=True, help="Read the password from standard input instead of asking for it."
    )(command)


def ask_password(name: str, from_stdin: bool) -> str:
    """Return a new password for an account: asked for twice at the terminal, or read; raises UsageError."""
    if from_stdin:
        try:
            text = sys.stdin.buffer.read(LONGEST).decode()
        except UnicodeDecodeError:
            raise UsageError("the password on standard input is not UTF-8") from None
        return text.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise UsageError("a password is asked for at a terminal: run this in one, or give --password-stdin")
    return str(
        click.prompt(f"New password for {name}", hide_input=True, confirmation_prompt="The same again", err=True)
    )


def user() -> str:
    """Return the system's name of the user who gives the command, for the trail."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # the system does not know the user
        name = f"user {os.getuid()}"
    return f"{name} (shell)"
