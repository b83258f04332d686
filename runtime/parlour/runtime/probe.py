"""Why no broker answered at an address, in words: ZeroMQ tries again in silence, whatever it finds there.

This module owns that one look, which it takes on the calling thread once a question has failed. It must never take
longer than it is given, but for the system's own look-up of a name.
"""

from __future__ import annotations

import socket
import time

from parlour.wire.limits import parse_address

__all__ = ["describe_listener"]

_SIGNATURE = b"\xff\0\0\0\0\0\0\0\x01\x7f"
"""The first bytes that a ZeroMQ socket sends, and that it waits for."""


def describe_listener(address: str, timeout: float) -> str:
    """Return in words what is there instead of a broker, within `timeout` seconds, or "" if nothing says so."""
    deadline = time.monotonic() + timeout
    host, port = parse_address(address)
    try:
        with socket.create_connection((host, port), timeout) as peer:
            peer.sendall(_SIGNATURE)
            peer.settimeout(max(0.001, deadline - time.monotonic()))
            answer = peer.recv(len(_SIGNATURE))
    except socket.gaierror as error:
        return f"there is no host {host} ({error.strerror})"
    except OSError:
        return ""  # Nobody, or one that keeps silent: perhaps a broker that is stuck.
    return "" if answer[:1] == _SIGNATURE[:1] else f"what answers at {address} is no parlour broker"
