"""The directory: people and what belongs to them, beside the room log and shared by all nodes of a cluster.

This package owns accounts, names in use, invitations, device tokens, memberships and read marks. `store.py` is the
contract of its engines; all other modules are policy on top of it. Any thread may call it.
"""

__all__: list[str] = []
