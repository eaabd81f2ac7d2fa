"""A plan over ten thousand nodes in five hundred farms: one that is found, one that fits nowhere.

Nobody else plans such contracts. What stands beside it is the work of merely reading the same nodes
once from their canonical bytes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from bench.figures import Report, judged, timed
from bench.ground import Ground
from bench.meters import in_turns, pinned
from tests.contract.stage import IMAGES, RECIPE_TEXT, guestbook_stage, who
from tests.contract.test_planner import crowd
from tfgrid.core import canonical, errors
from tfgrid.ledger import contract, farm

__all__ = ["measure"]

NODES: Final = 10_000
_BYTES_MAX: Final = 64 * 1024**2


def measure(_ground: Ground, repeat: int) -> Report:
    """Plan eight web containers on eight farms, then ask for more memory than any node has."""
    stage, inventory = guestbook_stage(), crowd(NODES)
    recipe = contract.read_recipe(stage.view, "guestbook")
    large = contract.parse_recipe_yaml(
        RECIPE_TEXT.replace("maximum: 4GiB", "maximum: 400GiB"), author=who("expert")
    )
    fits = stage.order(parameters={"replicas": 8})
    fits_not = stage.order(parameters={"memory": "100GiB"})
    data = canonical.encode(inventory)

    def found() -> None:
        contract.plan(fits, recipe, IMAGES, inventory)

    def refused() -> None:
        with suppress(errors.NoFit):
            contract.plan(fits_not, large, IMAGES, inventory)

    def read() -> None:
        canonical.parse(data, farm.Inventory, bytes_max=_BYTES_MAX)

    with pinned():
        samples = in_turns({"read": read, "found": found, "refused": refused}, repeat)
    base = timed(f"reading {NODES} nodes", samples["read"])
    return Report(
        figures=(
            base,
            judged(timed(f"a plan over {NODES} nodes", samples["found"]), base),
            judged(timed(f"a refusal by {NODES} nodes, with reasons", samples["refused"]), base),
        )
    )
