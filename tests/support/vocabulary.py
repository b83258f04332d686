"""All messages of the wire: each class, its decoders and its golden vectors.

This module owns the list for the wire's tests. It must never name a class by hand: a new message without a vector must
be noticed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec

from parlour.wire import asks, codec, control, messages, relay, signin
from parlour.wire.codec import Decoder

__all__ = ["CLASSES", "DECODERS", "GOLDEN", "Vector", "decoders_of"]


class Vector(NamedTuple):
    """One golden vector: the class, the map as JSON, the bytes."""

    kind: type[msgspec.Struct]
    map: dict[str, Any]
    body: bytes

    def __str__(self) -> str:
        return f"{self.kind.__name__}-{len(self.body)}"


_MODULES = {"messages": messages, "signin": signin, "asks": asks, "control": control, "relay": relay}

CLASSES: list[type[msgspec.Struct]] = [
    kind
    for module in _MODULES.values()
    for name in module.__all__
    if isinstance(kind := getattr(module, name), type) and issubclass(kind, msgspec.Struct)
]
"""Every class of message that the wire exports."""

_client: Decoder[Any] = Decoder(messages.ClientMessage)
_node: Decoder[Any] = Decoder(messages.NodeMessage)

DECODERS: list[tuple[object, Decoder[Any]]] = [
    (messages.ClientMessage, _client),
    (messages.NodeMessage, _node),
    (control.Request, codec.decode_request),
    (control.Reply, codec.decode_reply),
    (control.Feed, codec.decode_feed),
    (relay.RelayMessage, codec.decode_relay),
]
"""Each union of messages, and its decoder."""


def decoders_of(kind: type[msgspec.Struct]) -> list[Decoder[Any]]:
    """Return the decoders of a class; a class that only occurs inside others has one of its own."""
    return [decoder for union, decoder in DECODERS if kind in get_args(union)] or [Decoder(kind)]


def _load() -> list[Vector]:
    path = Path(__file__).parent.parent / "wire" / "golden.json"
    return [
        Vector(getattr(_MODULES[entry["module"]], entry["class"]), entry["map"], bytes.fromhex(entry["hex"]))
        for entry in json.loads(path.read_text(encoding="utf-8"))
    ]


GOLDEN: list[Vector] = _load()
"""The vectors of tests/wire/golden.json."""
