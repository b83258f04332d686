"""Makes `python -m parlour.cli` the `parlour` command, for children that must run on this very interpreter."""

from __future__ import annotations

import sys

from parlour.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
