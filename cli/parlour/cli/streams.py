"""The standard streams of a command: all of them are open and take any text, and each failure to write is told once.

This module owns `sys.stdin`, `sys.stdout` and `sys.stderr` from the start of a command; it is called on the main
thread. It must never touch a stream that the caller has replaced.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

__all__ = ["OutputError", "ReaderLeftError", "prepare"]


class OutputError(OSError):
    """An error while writing to standard output; the text tells the reason."""


class ReaderLeftError(OutputError, ConnectionError):
    """The reader of standard output has closed it.

    This is not a BrokenPipeError and has no `errno`, because some libraries end the program when they see one.
    """


class _Output(io.FileIO):
    """Standard output; after a failure it drops further output, so that the command does not fail twice."""

    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except OSError as error:
            _mute(self.fileno())
            kind = ReaderLeftError if isinstance(error, BrokenPipeError) else OutputError
            raise kind(error.strerror) from None


class _Errors(io.FileIO):
    """Standard error; it drops what it cannot write, because there is no place left to report that."""

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
    """Open closed streams on the null device; make the others take any text and report failures."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The system gives the lowest free descriptor, so the next file opened would get this stream's descriptor
            # and its output.
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8", closefd=False))
    sys.stdout = _wrapped(_Output, sys.stdout, sys.__stdout__)
    sys.stderr = _wrapped(_Errors, sys.stderr, sys.__stderr__)


def _wrapped(kind: type[io.FileIO], stream: TextIO, original: TextIO | None) -> TextIO:
    """Return a stream like `stream` that writes to a file of this kind; return `stream` itself if it was replaced."""
    if stream is not original:
        return stream
    file = kind(stream.fileno(), "w", closefd=False)
    # A character that the encoding does not have is no failure: it is written as an escape.
    return io.TextIOWrapper(
        io.BufferedWriter(file), stream.encoding, "backslashreplace", line_buffering=bool(stream.line_buffering)
    )
