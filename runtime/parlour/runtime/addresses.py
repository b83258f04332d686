"""What a host name stands for: IPv4 or IPv6 addresses, as the system's look-up says.

This module owns the choice between the two for sockets that know only one at a time, as ZeroMQ's do; any thread may
call it. It must never guess by the look of a name: only numbers tell by themselves.
"""

from __future__ import annotations

import socket

from parlour.wire.errors import ParlourError

__all__ = ["endpoint", "ipv6_choices", "ipv6_that_answers", "number_of"]


def endpoint(host: str, port: int) -> str:
    """Return ZeroMQ's spelling of a TCP address."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def ipv6_choices(host: str) -> list[bool]:
    """Return the values of a ZeroMQ socket's option IPV6 with which it may reach the host, the likeliest first.

    A name with addresses of both kinds is taken for its IPv4 address first, as `number_of` does.
    """
    try:
        found = _families(host)
    except OSError:
        return [False, True]  # unknown now; ZeroMQ asks again when it connects
    return [kind for kind in (False, True) if (socket.AF_INET6 if kind else socket.AF_INET) in found]


def ipv6_that_answers(host: str, port: int, timeout: float = 1.0) -> bool:
    """Return the one of `ipv6_choices` with which somebody listens at this port."""
    choices = ipv6_choices(host)
    if len(choices) > 1:
        try:
            with socket.create_connection((host, port), timeout) as probe:
                return probe.family == socket.AF_INET6
        except OSError:
            pass
    return choices[0]


def number_of(host: str) -> str:
    """Return the numeric address to listen at for a host, IPv4 if it has one; raises ParlourError if it has none."""
    try:
        found = _families(host)
    except OSError as error:
        raise ParlourError(f"there is no host {host!r} to listen at ({error.strerror})") from None
    return found.get(socket.AF_INET) or found[socket.AF_INET6]


def _families(host: str) -> dict[int, str]:
    """Return the first address of each kind; raises OSError if there is none."""
    found: dict[int, str] = {}
    for family, *_, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        if family in (socket.AF_INET, socket.AF_INET6):
            found.setdefault(family, str(place[0]))
    if not found:
        raise OSError(0, "no address")
    return found
