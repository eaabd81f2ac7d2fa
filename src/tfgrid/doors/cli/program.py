"""`tfgrid`: where the program starts, and the answer that is given before anything is imported."""

from __future__ import annotations

import gc
import sys
from typing import Final, NoReturn

__all__ = ["main"]

_OBJECTS_BETWEEN_COLLECTIONS: Final = 200_000


def main() -> NoReturn:
    """Run `tfgrid` with the arguments of this process."""
    if sys.argv[1:] == ["--version"]:
        # Nothing else is imported for it: programs ask for versions in loops.
        from tfgrid import __version__

        print(f"tfgrid {__version__}")
        sys.exit(0)
    # What a command imports stays until it ends, and it ends soon. Looking for garbage in it, on
    # the way and again while the interpreter is taken apart, was a quarter of a command's time.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    from tfgrid.doors.cli.root import root

    try:
        root.main()
    finally:
        gc.freeze()
