"""The root command: the table of nouns, and which module each is in.

A noun's module is imported when the noun is typed, so that no command pays for another's imports.
"""

from __future__ import annotations

from typing import Final

import click

from tfgrid import __version__
from tfgrid.doors.cli.frame import Root, settings_of

__all__ = ["COMMANDS", "load", "root"]

COMMANDS: Final[dict[str, str]] = {
    "demo": "The whole idea in one command; demo unplug pulls a plug.",
    "doctor": "What this machine has and lacks.",
    "up": "Start a grid on this machine.",
    "down": "Stop the grid; --purge leaves nothing.",
    "status": "How the grid is.",
    "plan": "What an order would become; changes nothing.",
    "deploy": "Order a recipe or a plan: show, ask, register, wait.",
    "contract": "Contracts: list, show, why, sign, reject, update, cancel, proof, verify.",
    "recipe": "Recipes: lint, publish, list, show.",
    "image": "Images: build, list, show, verify.",
    "node": "Nodes: list, show.",
    "farm": "Farms: list.",
    "logs": "What a workload wrote.",
    "zdb": "Zero-DB: serve, info, check, repair, rebuild, dump.",
    "config": "Settings: show, and who said them.",
    "help": "Error codes, exit codes, environment.",
    "completion": "Completion for bash, zsh or fish.",
}


def load(word: str) -> click.Command:
    """Import the module of one word and give its command."""
    match word:
        case "demo":
            from tfgrid.doors.cli.story import demo

            return demo.COMMANDS[word]
        case "doctor" | "up" | "down" | "status":
            from tfgrid.doors.cli.nouns import machine

            return machine.COMMANDS[word]
        case "plan" | "deploy":
            from tfgrid.doors.cli.nouns import order

            return order.COMMANDS[word]
        case "contract":
            from tfgrid.doors.cli.nouns import update

            return update.COMMANDS[word]
        case "recipe":
            from tfgrid.doors.cli.nouns import recipe

            return recipe.COMMANDS[word]
        case "image":
            from tfgrid.doors.cli.nouns import image

            return image.COMMANDS[word]
        case "node" | "farm":
            from tfgrid.doors.cli.nouns import node

            return node.COMMANDS[word]
        case "logs":
            from tfgrid.doors.cli.nouns import logs

            return logs.COMMANDS[word]
        case "config":
            from tfgrid.doors.cli.nouns import config

            return config.COMMANDS[word]
        case "zdb":
            from tfgrid.doors.cli.nouns import zdb

            return zdb.COMMANDS[word]
        case _:
            from tfgrid.doors.cli.nouns import topics

            return topics.COMMANDS[word]


root: Final = Root(
    table=COMMANDS,
    load=load,
    help="Recipes become contracts, stakeholders sign, nodes that nobody logs in to make them so.",
    examples=("tfgrid demo", "tfgrid plan guestbook", "tfgrid contract why guestbook"),
)


def _print_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    if settings_of(context).json:
        print(f'{{"schema":"tfgrid.version/1","version":"{__version__}"}}')
    else:
        print(f"tfgrid {__version__}")
    context.exit()


_VERSION: Final = click.Option(
    ("--version",), is_flag=True, expose_value=False, callback=_print_version, help="The version."
)
root.params.append(_VERSION)
