"""The `parlour` command: one lazy group over the commands of every part, and `up` and `down`.

Importing it imports click and nothing else of ours, so that `parlour --help` is quick and a broken part is no
reason for the other commands to fail.
"""

from parlour.cli.group import main

__all__ = ["main"]
