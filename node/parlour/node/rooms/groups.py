"""The members of a room on this node, grouped by the variant that they receive.

This module owns the groups; the room's mutex guards its instances. It must never change a group, only replace it:
delivery walks over the tuples that it took, while members come and go.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from parlour.dialects import Variant
from parlour.node.rooms.member import Member

__all__ = ["MemberGroups"]


class MemberGroups:
    """All members, each once."""

    def __init__(self) -> None:
        self.by_variant: dict[Variant | None, tuple[Member[Any], ...]] = {}
        """The groups; a room in which all members speak frames has one group, under None."""

    def __iter__(self) -> Iterator[Member[Any]]:
        """Yield all present members."""
        return chain.from_iterable(self.by_variant.values())

    def __bool__(self) -> bool:
        return bool(self.by_variant)

    def has(self, member: Member[Any]) -> bool:
        """Return whether the member is in the room."""
        return member in self.by_variant.get(member.subscriber.variant, ())

    def add(self, member: Member[Any]) -> bool:
        """Add a member; return False if it is in the room already."""
        variant = member.subscriber.variant
        group = self.by_variant.get(variant, ())
        if member in group:
            return False
        self.by_variant = {**self.by_variant, variant: (*group, member)}
        return True

    def remove(self, member: Member[Any]) -> None:
        """Remove a member."""
        variant = member.subscriber.variant
        group = tuple(other for other in self.by_variant.get(variant, ()) if other is not member)
        others = {key: members for key, members in self.by_variant.items() if key != variant}
        self.by_variant = {**others, variant: group} if group else others
