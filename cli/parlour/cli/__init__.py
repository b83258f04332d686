"""The `parlour` command: one lazy group over the commands of every part, and `up` and `down`.

Importing it imports nothing, and running it imports click and nothing else of ours, so that `parlour --help` is quick
and a broken part is no reason for the other commands to fail.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `parlour` command on these arguments as `parlour.cli.group` does, and return its exit status."""
    try:
        # Here, as Ctrl-C may come meanwhile, and means what it does later.
        from parlour.cli import group
    except KeyboardInterrupt:
        return 130
    return group.main(arguments)
