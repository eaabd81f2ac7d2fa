"""How a step is announced, and how one that fails says which it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tfgrid
from tfgrid.core import errors
from tfgrid.doors.cli.frame import Settings, say

__all__ = ["Teller", "example_directory"]

STEPS: Final = (
    "checking this machine",
    "starting a grid here",
    "building images and publishing the recipe",
    "ordering it",
    "approvals",
    "the page",
    "receipts and proof",
)


@dataclass(frozen=True, slots=True)
class Teller:
    """Who tells the story: the common flags and where the example is."""

    settings: Settings
    example: Path

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """One step; a fault in it says its number and name first.

        Raises:
            errors.GridError: whatever went wrong, unchanged.

        """
        title = STEPS[number - 1]
        self.say(f"\n{number}. {title}")
        try:
            yield
        except errors.GridError:
            say(self.settings, f"\nstep {number} of {len(STEPS)} failed: {title}")
            raise

    def say(self, text: str) -> None:
        """One line of the story."""
        say(self.settings, text)


def example_directory() -> Path:
    """The guestbook of this checkout.

    Raises:
        errors.NotFound: TFG-5022, this installation came without it.

    """
    path = Path(tfgrid.__file__).parents[2] / "examples" / "guestbook"
    if not (path / "recipe.yaml").is_file():
        raise errors.NotFound(
            "TFG-5022", "the example recipe is not here", where=str(path),
            hint="tfgrid demo --example DIR with a checkout's examples/guestbook",
        )  # fmt: skip
    return path
