"""One question, or none.

`--yes` always means yes, and who cannot be asked is told which flag was missing.
"""

from __future__ import annotations

import sys

import click

from tfgrid.core import errors
from tfgrid.doors.cli.frame.settings import Settings

__all__ = ["confirm"]


def confirm(settings: Settings, question: str, *, typed: str = "") -> None:
    """Return if the answer is yes.

    What destroys data that is nowhere else asks for a word, `typed`, instead of a yes.

    Raises:
        errors.BadInput: TFG-5003, nobody is there to be asked.
        errors.NotAllowed: TFG-5011, the answer was no.

    """
    if settings.yes:
        return
    if settings.json or not sys.stdin.isatty():
        raise errors.BadInput(
            "TFG-5003", f"{question} Nobody is here to answer", hint="add --yes to say yes"
        )
    if typed:
        agreed = click.prompt(f"{question} Type {typed}", default="", err=True) == typed
    else:
        agreed = click.confirm(question, default=False, err=True)
    if not agreed:
        raise errors.NotAllowed("TFG-5011", "you said no; nothing was changed")
