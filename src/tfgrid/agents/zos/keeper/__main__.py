"""`python -m tfgrid.agents.zos.keeper RUN_DIR STATE_DIR`: keep processes until told to quit."""

from __future__ import annotations

import sys

from tfgrid.agents.zos.keeper.server import Keeper


def main(arguments: list[str]) -> int:
    """Run one keeper; 0 when it was told to quit, 3 when another one has the folder."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m tfgrid.agents.zos.keeper RUN_DIR STATE_DIR\n")
        return 2
    return 0 if Keeper(*arguments).run() else 3


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
