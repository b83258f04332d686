"""The reason why no broker answered at an address: ZeroMQ itself retries silently, whatever listens there.

This module owns that check, which runs on the calling thread after a request has failed. It must never take longer
than its timeout, except for the system's look-up of a name.
"""

from __future__ import annotations

import socket
import time

from parlour.wire.limits import parse_address

__all__ = ["describe_listener"]

_SIGNATURE = b"\xff\0\0\0\0\0\0\0\x01\x7f"
"""The first bytes that a ZeroMQ socket sends, and that it expects from its peer."""


def describe_listener(address: str, timeout: float) -> str:
    """Return in words what listens there instead of a broker, or "" if that is not known within `timeout` seconds."""
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
        return ""  # Nothing listens, or a silent peer does, which may be a stuck broker.
    return "" if answer[:1] == _SIGNATURE[:1] else f"what answers at {address} is no parlour broker"
