"""The `parlour` command as `python -m parlour.cli`, so that children run with the same interpreter as their parent."""

from __future__ import annotations

import sys

from parlour.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
