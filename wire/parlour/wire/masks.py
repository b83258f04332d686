"""Masks: by which people are banned or muted, one name, a pattern of names, an address or a network.

This module owns what a mask means; its functions are pure. A mask must never hit by how a name is written: names are
compared by skeleton.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from functools import lru_cache

from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_NAME
from parlour.wire.people import Person
from parlour.wire.skeleton import skeleton

__all__ = ["address_group", "check_mask", "is_pattern", "mask_hits"]


def check_mask(mask: object) -> str:
    """Return a mask in the form in which it is kept; raises UsageError if it is none.

    It is a name, a pattern with `*` (anything) and `?` (one character), an IP address, or a network such as
    192.0.2.0/24.
    """
    if not isinstance(mask, str) or not 1 <= len(mask) <= MAX_NAME or not mask.isprintable() or " " in mask:
        raise UsageError(
            f"give a name, a pattern with * or ?, an address or a network, of at most {MAX_NAME} characters"
        )
    network = _network(mask)
    if network is not None:
        return str(network) if network.num_addresses > 1 else str(network.network_address)
    if not skeleton(mask).strip("*?"):  # there are characters that look like *
        raise UsageError(f"the pattern {mask} would hit everybody: make the room moderated, or for invited people")
    return mask


def is_pattern(mask: str) -> bool:
    """Return whether a mask may hit several names."""
    return "*" in mask or "?" in mask


def mask_hits(mask: str, person: Person) -> bool:
    """Return whether a mask hits a person, by the name, the account or the address."""
    network = _network(mask)
    if network is not None:
        address = _network(person.address)
        return address is not None and address.version == network.version and address.network_address in network
    pattern = _pattern(mask)
    return any(pattern.fullmatch(skeleton(name)) for name in {person.name, person.account} if name)


@lru_cache(maxsize=4096)
def address_group(address: str) -> str:
    """Return what an address counts as: itself, or its /64 of IPv6, which is one person's; empty if it is none."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    found = getattr(found, "ipv4_mapped", None) or found
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))


@lru_cache(maxsize=4096)
def _pattern(mask: str) -> re.Pattern[str]:
    # `.*` for each star would try all ways to share a name among the stars: a ban could stop a node for hours. What
    # fnmatch makes never goes back to an earlier star.
    return re.compile(fnmatch.translate(skeleton(mask).replace("[", "[[]")))


@lru_cache(maxsize=4096)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
