"""What is happening, on standard error.

On a terminal the latest line of each thing is redrawn in place; elsewhere there is one line per
change and no repeats; with `--json` each change is one JSON object.
"""

from __future__ import annotations

import json
import sys
from types import TracebackType
from typing import Any, Self

from tfgrid.doors.cli.frame.settings import Settings
from tfgrid.doors.cli.frame.terminal import cell, printable

__all__ = ["Progress"]


class Progress:
    """Shows the state of several things while a command waits for them.

    Args:
        settings: decides the form.
        title: what is going on, in a few words.

    """

    def __init__(self, settings: Settings, title: str) -> None:
        self._settings = settings
        self._title = title
        self._last: dict[str, str] = {}
        self._spinner: Any = None

    def __enter__(self) -> Self:
        if self._settings.animation:
            from rich.console import Console

            self._spinner = Console(stderr=True).status(self._title)
            self._spinner.start()
        elif self._title:
            self._line(self._title)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._spinner is not None:
            self._spinner.stop()

    def change(self, thing: str, state: str) -> None:
        """Say that `thing` is now in `state`; a repeat says nothing."""
        if self._last.get(thing) == state:
            return
        self._last[thing] = state
        if self._settings.json:
            entry = {"schema": "tfgrid.progress/1", "type": "progress", "of": self._title}
            sys.stderr.write(json.dumps(entry | {"thing": thing, "state": state}) + "\n")
            sys.stderr.flush()
            return
        thing, state = cell(thing), cell(state)
        if self._spinner is not None:
            self._spinner.console.print(f"   {thing:<14} {state}", markup=False, highlight=False)
            self._spinner.update(f"{self._title}: {thing}")
        else:
            self._line(f"   {thing:<14} {state}")

    def _line(self, text: str) -> None:
        if not self._settings.quiet and not self._settings.json:
            sys.stderr.write(printable(text) + "\n")
            sys.stderr.flush()
