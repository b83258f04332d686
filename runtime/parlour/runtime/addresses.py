"""What a host name stands for: IPv4 or IPv6 addresses, as the system's look-up says.

This module owns the choice between the two for sockets that know only one at a time, as ZeroMQ's do; any thread may
call it. It must never guess by the look of a name: only numbers tell by themselves.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import suppress

from parlour.wire.errors import ParlourError
from parlour.wire.limits import parse_address

__all__ = ["advertised_host", "answers_on_ipv6", "canonical_address", "endpoint", "ipv6_choices", "numeric_address"]


def endpoint(host: str, port: int) -> str:
    """Return ZeroMQ's spelling of a TCP address."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def ipv6_choices(host: str) -> list[bool]:
    """Return the values of a ZeroMQ socket's option IPV6 with which it may reach the host, the likeliest first.

    A name with addresses of both kinds is taken for its IPv4 address first, as `numeric_address` does.
    """
    try:
        found = _families(host)
    except OSError:
        return [False, True]  # unknown now; ZeroMQ asks again when it connects
    return [kind for kind in (False, True) if (socket.AF_INET6 if kind else socket.AF_INET) in found]


def answers_on_ipv6(host: str, port: int, timeout: float = 1.0) -> bool:
    """Return the one of `ipv6_choices` with which somebody listens at this port."""
    choices = ipv6_choices(host)
    if len(choices) > 1:
        try:
            with socket.create_connection((host, port), timeout) as probe:
                return probe.family == socket.AF_INET6
        except OSError:
            pass
    return choices[0]


def numeric_address(host: str) -> str:
    """Return the numeric address to listen at for a host, IPv4 if it has one.

    Raises ParlourError if it has none, or one of another machine.
    """
    try:
        found = _families(host)
    except OSError as error:
        raise ParlourError(f"there is no host {host!r} to listen at ({error.strerror})") from None
    number = found.get(socket.AF_INET) or found[socket.AF_INET6]
    try:
        with socket.socket(socket.AF_INET6 if ":" in number else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((number, 0))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise ParlourError(
                f"{host} is no address of this machine: give one of its own, such as 127.0.0.1, or 0.0.0.0 for all"
            ) from None
    return number


def canonical_address(broker: str) -> str:
    """Return a broker's address as all its spellings on this machine are known: with 127.0.0.1 for this machine."""
    host, port = parse_address(broker)
    if host in ("localhost", "0.0.0.0"):
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def advertised_host(host: str, broker: str) -> str:
    """Return the host to tell to others, for a number that is listened on; in brackets if it is of IPv6.

    Of all addresses (0.0.0.0, ::) that is the one that faces the broker, or the rest of the world where the broker is
    on this machine: who listens on all wants to be reached from elsewhere. Raises ParlourError where there is none.
    """
    if host in ("0.0.0.0", "::"):
        kind = socket.AF_INET6 if host == "::" else socket.AF_INET
        there, port = parse_address(broker)
        with suppress(ParlourError):
            number = ipaddress.ip_address(numeric_address(there).partition("%")[0])
            if number.is_loopback or number.is_unspecified:
                there, port = ("2001:db8::1" if host == "::" else "192.0.2.1"), 9  # addresses for documentation
        try:
            with socket.socket(kind, socket.SOCK_DGRAM) as probe:
                probe.connect((there, port))  # of a datagram socket: nothing is sent, a route is chosen
                host = probe.getsockname()[0]
        except OSError as error:
            raise ParlourError(
                f"cannot tell by which address others reach this machine ({error.strerror}): say --advertise "
                "HOST:PORT, or listen at one address instead of all"
            ) from None
    return f"[{host}]" if ":" in host else host


def _families(host: str) -> dict[int, str]:
    """Return the first address of each kind; raises OSError if there is none."""
    found: dict[int, str] = {}
    for family, *_, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        if family in (socket.AF_INET, socket.AF_INET6):
            found.setdefault(family, str(place[0]))
    if not found:
        raise OSError(0, "no address")
    return found
