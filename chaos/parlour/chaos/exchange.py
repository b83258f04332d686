"""The exchange between a round and its processes: a request to each, and an answer of each, a line of JSON.

This module owns the way of the lines; `requests` owns what they say. One thread at a time asks a process. It must never
take a late answer for the answer to the next request.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import msgspec

from parlour.chaos.part import Part
from parlour.chaos.requests import Answer, Failed, Request
from parlour.wire.errors import ParlourError

__all__ = ["ask_parts", "serve"]


def ask_parts(parts: Sequence[Part], requests: Sequence[Request], timeout: float) -> list[Answer]:
    """Return the answer of each process to its request, within `timeout` seconds each.

    Raises ParlourError if one fails or does not answer; all are killed in the second case.
    """
    try:
        for part, request in zip(parts, requests, strict=True):
            part.tell(msgspec.json.encode(request).decode())
        answers: list[Answer] = [msgspec.json.decode(part.hear(timeout), type=Answer) for part in parts]
    except ParlourError:
        for part in parts:
            part.kill()
        raise
    for part, answer in zip(parts, answers, strict=True):
        if isinstance(answer, Failed):
            raise ParlourError(f"{part.name}: {answer.text}")
    return answers


def serve(do: Callable[[Request], Answer]) -> None:
    """Answer the requests on standard input until it ends; a ParlourError is answered by `Failed`."""
    print("ready", flush=True)
    for line in sys.stdin.buffer:
        try:
            answer = do(msgspec.json.decode(line, type=Request))
        except ParlourError as error:
            answer = Failed(str(error))
        print(msgspec.json.encode(answer).decode(), flush=True)
