"""The standard streams of a command: all are there, take any text, and output that takes nothing more says so, once.

This module owns `sys.stdin`, `sys.stdout` and `sys.stderr` from a command's start; it is called on the main thread. It
must never touch a stream that the caller has put in the place of the process's own.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

__all__ = ["OutputError", "ReaderLeftError", "prepare"]


class OutputError(OSError):
    """Standard output could not be written; the text tells why."""


class ReaderLeftError(OutputError, ConnectionError):
    """Nobody reads standard output any more.

    It has no number, and is no BrokenPipeError: libraries end the program on that, each in its own way.
    """


class _Output(io.FileIO):
    """Standard output; what is still to come after a failure goes nowhere, so that it does not fail again."""

    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except OSError as error:
            _mute(self.fileno())
            kind = ReaderLeftError if isinstance(error, BrokenPipeError) else OutputError
            raise kind(error.strerror) from None


class _Errors(io.FileIO):
    """Standard error; what it does not take is lost, as there is nowhere to say so."""

    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except OSError:
            _mute(self.fileno())
            return super().write(data)


def _mute(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def prepare() -> None:
    """Open those of the streams that are closed on nothing, and have the others take any text and tell of failures."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free is this stream's: the next file opened would have it, and get its output.
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8", closefd=False))
    sys.stdout = _over(_Output, sys.stdout, sys.__stdout__)
    sys.stderr = _over(_Errors, sys.stderr, sys.__stderr__)


def _over(kind: type[io.FileIO], stream: TextIO, own: TextIO | None) -> TextIO:
    """Return a stream like this one over such a file, if it is the process's own."""
    if stream is not own:
        return stream
    file = kind(stream.fileno(), "w", closefd=False)
    # A letter that the encoding lacks is no failure: it is written as its number.
    return io.TextIOWrapper(
        io.BufferedWriter(file), stream.encoding, "backslashreplace", line_buffering=bool(stream.line_buffering)
    )
