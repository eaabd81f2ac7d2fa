"""The seven steps in their order."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tfgrid.doors.cli import answers
from tfgrid.doors.cli.frame import Settings
from tfgrid.doors.cli.story import agreeing, answering, preparing
from tfgrid.doors.cli.story.telling import Teller, example_directory

__all__ = ["run"]


def run(settings: Settings, example: Path | None) -> answers.Demo:
    """Tell the whole story; each step finds what an earlier run left.

    Raises:
        errors.GridError: the first step that failed.

    """
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
