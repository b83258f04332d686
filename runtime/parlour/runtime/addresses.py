"""Host names and their IPv4 and IPv6 addresses, from the system's look-up.

This module owns the choice between the two for sockets that take only one at a time, as ZeroMQ's do; any thread may
call it. It must never guess from the form of a name: only a numeric address shows its kind.
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

    If a name has addresses of both kinds, IPv4 comes first, as in `numeric_address`.
    """
    try:
        found = _families(host)
    except OSError:
        return [False, True]  # not known now; ZeroMQ looks the name up again when it connects
    return [kind for kind in (False, True) if (socket.AF_INET6 if kind else socket.AF_INET) in found]


def answers_on_ipv6(host: str, port: int, timeout: float = 1.0) -> bool:
    """Return the one of `ipv6_choices` with which a peer listens at this port; tries for `timeout` seconds."""
    choices = ipv6_choices(host)
    if len(choices) > 1:
        try:
            with socket.create_connection((host, port), timeout) as probe:
                return probe.family == socket.AF_INET6
        except OSError:
            pass
    return choices[0]


def numeric_address(host: str) -> str:
    """Return the numeric address to listen at for a host: IPv4 if the host has one.

    Raises ParlourError if the host has no address, or only addresses of other machines.
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
                f"{host} is not an address of this machine: give one that is, such as 127.0.0.1, or 0.0.0.0 for all"
            ) from None
    return number


def canonical_address(broker: str) -> str:
    """Return one address for all spellings of a broker on this machine: with 127.0.0.1 for this machine."""
    host, port = parse_address(broker)
    if host in ("localhost", "0.0.0.0"):
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def advertised_host(host: str, broker: str) -> str:
    """Return the host under which others reach a listener at this numeric address; an IPv6 address is in brackets.

    If the listener listens at all addresses (0.0.0.0, ::), this is the address that faces the broker. If the broker is
    on this machine, it is the address that faces the rest of the world, because a listener at all addresses should be
    reached from elsewhere. Raises ParlourError if there is no such address.
    """
    if host in ("0.0.0.0", "::"):
        kind = socket.AF_INET6 if host == "::" else socket.AF_INET
        there, port = parse_address(broker)
        with suppress(ParlourError):
            number = ipaddress.ip_address(numeric_address(there).partition("%")[0])
            if number.is_loopback or number.is_unspecified:
                there, port = ("2001:db8::1" if host == "::" else "192.0.2.1"), 9  # documentation addresses: outside
        try:
            with socket.socket(kind, socket.SOCK_DGRAM) as probe:
                probe.connect((there, port))  # a datagram socket: this sends nothing, it only chooses a route
                host = probe.getsockname()[0]
        except OSError as error:
            raise ParlourError(
                f"cannot find the address by which others reach this machine ({error.strerror}): name it with "
                "--advertise HOST:PORT, or listen at one address instead of all"
            ) from None
    return f"[{host}]" if ":" in host else host


def _families(host: str) -> dict[int, str]:
    """Return the first address of each kind; raises OSError if the host has none."""
    found: dict[int, str] = {}
    for family, *_, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        if family in (socket.AF_INET, socket.AF_INET6):
            found.setdefault(family, str(place[0]))
    if not found:
        raise OSError(0, "no address")
    return found
