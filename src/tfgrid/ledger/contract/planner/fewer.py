"""Fewer replicas, where no other small change makes an order fit.

The number of a template's replicas is a parameter of the recipe. Tried is the most of them that
fits with all else as it was ordered, and, if not even the fewest fit, what else would have to give.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from tfgrid.core import errors
from tfgrid.ledger.contract.model import Image, Workload
from tfgrid.ledger.contract.planner.changes import find_changes
from tfgrid.ledger.contract.planner.order import Order
from tfgrid.ledger.contract.planner.search import Found, search
from tfgrid.ledger.contract.recipe import Recipe, render
from tfgrid.ledger.farm import Inventory

__all__ = ["fewer"]

_STEPS_TRIED_MAX: Final = 2_000


def fewer(order: Order, recipe: Recipe, images: Mapping[str, Image], inventory: Inventory) -> str:
    """What a person could do with fewer replicas; empty if that is no help either."""
    told = (_with_fewer(order, recipe, images, inventory, name) for name in _counts(recipe))
    return next((text for text in told if text), "")


def _counts(recipe: Recipe) -> list[str]:
    """The parameters that count replicas."""
    whole = [str(template.replicas) for template in recipe.workloads]
    named = [text[2:-1] for text in whole if text.startswith("${") and text.endswith("}")]
    return [p.name for p in recipe.parameters if p.name in named]


def _with_fewer(
    order: Order, recipe: Recipe, images: Mapping[str, Image], inventory: Inventory, name: str
) -> str:
    parameter = next(p for p in recipe.parameters if p.name == name)
    now = order.parameters.get(name, parameter.default)
    least = max(1, parameter.minimum or 1)
    if not str(now).isdecimal() or int(str(now)) <= least:
        return ""

    def made(count: int) -> tuple[Workload, ...] | None:
        try:
            return render(recipe, order.parameters | {name: count}, images)
        except errors.BadInput:
            return None

    for count in range(int(str(now)) - 1, least - 1, -1):
        workloads = made(count)
        if workloads is not None and _fits(order, workloads, inventory):
            return f"lower {name} to {count} (--set {name}={count})"
    workloads = made(least)
    changed = msgspec.structs.replace(order, parameters=order.parameters | {name: least})
    changes = find_changes(changed, recipe, workloads, inventory) if workloads else ()
    return (
        f"lower {name} to {least} (--set {name}={least}) and {changes[0].text}" if changes else ""
    )


def _fits(order: Order, workloads: tuple[Workload, ...], inventory: Inventory) -> bool:
    cap = None if order.price_cap_per_day is None else int(order.price_cap_per_day)
    found = search(
        workloads, inventory.nodes, payment=order.payment, cap=cap, steps=_STEPS_TRIED_MAX,
        explain=False,
    )  # fmt: skip
    return isinstance(found, Found)
