"""`tfgrid`: where the program starts, and the answer that is given before anything is imported."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run `tfgrid` with the arguments of this process."""
    if sys.argv[1:] == ["--version"]:
        # Nothing else is imported for it: programs ask for versions in loops.
        from tfgrid import __version__

        print(f"tfgrid {__version__}")
        sys.exit(0)
    from tfgrid.doors.cli.root import root

    root.main()
