"""The members of a room on this node, in groups by the variant that each is sent.

This module owns the groups; the room's mutex guards its instances. A group is a tuple that is replaced, never changed:
delivery walks over the groups that it took, while members come and go.
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
        """The groups; a room in which all speak frames has one, under None."""

    def __iter__(self) -> Iterator[Member[Any]]:
        """Yield all members that there are now."""
        return chain.from_iterable(self.by_variant.values())

    def __bool__(self) -> bool:
        return bool(self.by_variant)

    def add(self, member: Member[Any]) -> bool:
        """Add a member; return False if it is one already."""
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
