"""The `parlour` command: one lazy group over the commands of every part, and `up` and `down`.

This package imports nothing when it is imported, and only click when it runs. So `parlour --help` is quick, and a part
that cannot be imported does not break the commands of the other parts.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `parlour` command with these arguments, as `parlour.cli.group` does, and return its exit status."""
    try:
        # The import is inside the `try` because Ctrl-C may come during it.
        from parlour.cli import group
    except KeyboardInterrupt:
        return 130
    return group.main(arguments)
