"""Steps 1 to 3: the machine, the grid, images and recipe."""

from __future__ import annotations

import asyncio

from tfgrid.core import ids, units
from tfgrid.doors import localgrid
from tfgrid.doors.cli.frame import Progress
from tfgrid.doors.cli.nouns import image, machine, recipe
from tfgrid.doors.cli.session import grid_directory
from tfgrid.doors.cli.story.telling import Teller

__all__ = ["check_machine", "publish", "start_grid"]


def check_machine(teller: Teller) -> None:
    """Say what is off, and stop if a grid cannot run here."""
    answer = machine.refuse_if_lacking()
    paths = localgrid.Paths(grid_directory(teller.settings) or localgrid.default_directory())
    there = paths.grid_file.exists()
    for check in answer.checks:
        if check.level == "note" and not (there and check.name == "edge port"):
            teller.say(f"   note  {check.name:<16} {check.finding}: {check.means}")
    good = sum(check.level == "ok" for check in answer.checks)
    teller.say(
        f"   ok    {good} checks, {answer.notes} notes, 0 blocking    details: tfgrid doctor"
    )


def start_grid(teller: Teller) -> None:
    """Start the grid, or what is missing of it."""
    settings = teller.settings
    with Progress(settings, "") as progress:
        started = asyncio.run(
            localgrid.up(
                grid_directory(settings), nodes=None, farms=None,
                timeout_seconds=settings.timeout, progress=progress.change,
            )
        )  # fmt: skip
    grid = started.grid
    for farm in grid.farms:
        nodes = ", ".join(node.name for node in grid.nodes if node.farm == farm.name)
        teller.say(f"   farm {farm.name} ({farm.country}): {nodes}")
    state = "started" if started.started else "ran already"
    teller.say(f"   ledger {ids.short(grid.ledger)} at {grid.ledger_url}; the grid {state}")
    teller.say("   you are alice; her key, as all of this grid's, is sealed in its directory")


def publish(teller: Teller) -> None:
    """Build both images, signed by the expert, and publish the recipe that names them."""
    for directory in sorted(path.parent for path in teller.example.glob("*/image.toml")):
        with Progress(teller.settings, "") as progress:
            made = image.build(teller.settings, directory, progress)
        size = units.bytes_text(made.content_bytes)
        teller.say(
            f"   image {made.name:<14} sha256:{ids.short(made.digest)}  {size}, "
            f"{made.chunks} chunks, signed by {made.signer_name} ({made.state})"
        )
    found = asyncio.run(recipe.publish(teller.settings, teller.example / "recipe.yaml"))
    teller.say(
        f"   recipe {found.name}@{found.version}  sha256:{ids.short(found.digest)}, "
        f"signed by {found.author}"
    )
