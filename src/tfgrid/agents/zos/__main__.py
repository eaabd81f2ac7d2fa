"""`python -m tfgrid.agents.zos NODE_DIR`: the node process of a provisioned directory. Needs root.

It makes the node's namespaces where they are missing, enters them, and runs until SIGTERM. Log
lines go to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tfgrid.agents.zos import boot
from tfgrid.agents.zos.config import read_config
from tfgrid.core import errors
from tfgrid.core.log import Log

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Run the node of a directory; the exit code follows the error's class."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tfgrid.agents.zos NODE_DIR\n")
        return errors.BadInput.exit_code
    directory = Path(arguments[0]).resolve()
    try:
        config = read_config(directory)
        boot.make(config)
        boot.enter(config)
        # Imported inside the namespaces: nothing of it may start a thread or open a socket before.
        import asyncio

        from tfgrid.agents.zos import node

        asyncio.run(node.run(config, directory))
    except errors.GridError as fault:
        log = Log("zos")
        log.write("error", "ends", code=fault.code, reason=fault.what, where=fault.where)
        return fault.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
