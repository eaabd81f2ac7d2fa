"""How a step is announced, and how one that fails says which it was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tfgrid
from tfgrid.core import errors
from tfgrid.doors.cli import answers
from tfgrid.doors.cli.frame import Settings, say

__all__ = ["Teller", "run"]

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


def run(settings: Settings, example: Path | None) -> answers.Demo:
    """Tell the whole story; each step finds what an earlier run left.

    Raises:
        errors.GridError: the first step that failed.

    """
    from tfgrid.doors.cli.story import agreeing, answering, preparing

    teller = Teller(settings, example or example_directory())
    with teller.step(1):
        preparing.check_machine(teller)
    with teller.step(2):
        preparing.start_grid(teller)
    with teller.step(3):
        preparing.publish(teller)
    with teller.step(4):
        contract_id = asyncio.run(agreeing.order(teller))
    with teller.step(5):
        agreeing.approve(teller, contract_id)
    with teller.step(6):
        exchange = answering.exchange(teller, contract_id)
    with teller.step(7):
        proof = answering.prove(teller, contract_id)
    return answering.conclude(teller, contract_id, exchange, proof)
