"""The root command: the table of nouns, and which module each is in.

A noun's module is imported when the noun is typed, so that no command pays for another's imports.
"""

from __future__ import annotations

import sys
from typing import Final, NoReturn

__all__ = ["COMMANDS", "main"]

COMMANDS: Final[dict[str, str]] = {
    "demo": "The whole idea in one command; demo unplug pulls a plug.",
    "doctor": "What this machine has and lacks.",
    "up": "Start a grid on this machine.",
    "down": "Stop the grid; --purge leaves nothing.",
    "status": "How the grid is.",
    "plan": "What an order would become; changes nothing.",
    "deploy": "Order a recipe or a plan: show, ask, register, wait.",
    "contract": "Contracts: list, show, why, sign, reject, cancel, proof, verify.",
    "recipe": "Recipes: lint, publish, list, show.",
    "image": "Images: build, list, show, verify.",
    "node": "Nodes: list, show.",
    "farm": "Farms: list.",
    "logs": "What a workload wrote.",
    "help": "Error codes, exit codes, environment.",
    "completion": "Completion for bash, zsh or fish.",
}


def main() -> NoReturn:
    """Run `tfgrid` with the arguments of this process."""
    if sys.argv[1:] == ["--version"]:
        # Nothing else is imported for it: programs ask for versions in loops.
        from tfgrid import __version__

        print(f"tfgrid {__version__}")
        sys.exit(0)
    from tfgrid.doors.cli.root import root

    root.main()
