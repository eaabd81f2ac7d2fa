"""`config show`: what a command would go by here, and who said so."""

from __future__ import annotations

from typing import Final

import click

from tfgrid.doors import localgrid
from tfgrid.doors.cli import answers, render
from tfgrid.doors.cli.frame import Noun, Settings, leaf, show

__all__ = ["COMMANDS"]

noun: Final = Noun(
    "config", help="Settings: show.",
    examples=(
        "tfgrid config show", "tfgrid config show --origin", "tfgrid config show --as budget",
    ),
)  # fmt: skip
_NAMES: Final = {
    "grid": "grid", "context": "context", "identity": "as", "timeout": "timeout", "json": "json",
    "plain": "plain", "quiet": "quiet", "verbose": "verbose", "yes": "yes",
}  # fmt: skip


@leaf(
    noun, "show", answers=("tfgrid.config/1",),
    examples=(
        "tfgrid config show", "tfgrid config show --origin", "tfgrid config show --json",
    ),
)  # fmt: skip
@click.option("--origin", is_flag=True, help="Who said it: a flag, a variable, a file.")
def show_settings(settings: Settings, origin: bool) -> None:
    """Show what a command would go by here; with --origin who said each, flag before file."""
    entries = [
        answers.Setting(
            name=name, value=_shown(settings, field), origin=settings.origin.get(field, "default")
        )
        for field, name in _NAMES.items()
    ]
    show(settings, answers.Config(entries=entries), lambda a: _text(settings, a, origin=origin))


def _shown(settings: Settings, field: str) -> str:
    value = getattr(settings, field)
    if field == "grid":
        return str(value or localgrid.default_directory())
    if field == "identity":
        return str(value or "alice")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value} s" if field == "timeout" else str(value)


def _text(settings: Settings, answer: answers.Config, *, origin: bool) -> str:
    columns = ("setting", "value", "said by")[: 3 if origin else 2]
    rows = [(e.name, e.value, e.origin)[: len(columns)] for e in answer.entries]
    return render.table(settings, columns, rows)


COMMANDS: Final[dict[str, Noun]] = {"config": noun}
