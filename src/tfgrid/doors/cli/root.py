"""The root command, with the two flags that only it has."""

from __future__ import annotations

from typing import Final

import click

from tfgrid import __version__
from tfgrid.doors.cli import nouns
from tfgrid.doors.cli.frame import Root, settings_of
from tfgrid.doors.cli.program import COMMANDS

__all__ = ["root"]

root: Final = Root(
    table=COMMANDS,
    load=nouns.load,
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
