"""The smallest change to an order that would fit, found by trying small changes.

Tried are, one at a time: less of one resource for like workloads (the most that fits, by
bisection), then for all that have it; other farms, countries, nodes or trust classes; a weaker
spread; a higher price cap. What is suggested was searched for on the whole inventory and fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from tfgrid.core.schema import Integer, Name, Text, Value
from tfgrid.core.units import Money, money_text
from tfgrid.ledger.contract.model import (
    Constraints,
    Inhabitant,
    Network,
    Route,
    Workload,
    asked,
)
from tfgrid.ledger.contract.planner.order import Order
from tfgrid.ledger.contract.planner.search import Found, search
from tfgrid.ledger.contract.recipe import Recipe, Template
from tfgrid.ledger.farm import Inventory, NodeInfo

__all__ = ["Change", "apply_change", "find_changes"]

Resource = Literal["cpu_millis", "memory_bytes", "disk_bytes", "keys_max"]
Field = Literal[
    "cpu_millis", "memory_bytes", "disk_bytes", "keys_max", "farms", "countries", "nodes", "trust",
    "spread", "price_cap_per_day",
]  # fmt: skip

_STEPS: Final[dict[Resource, int]] = {
    "cpu_millis": 10,
    "memory_bytes": 1024**2,
    "disk_bytes": 1024**2,
    "keys_max": 1000,
}
_LEAST: Final[dict[Resource, int]] = {
    "cpu_millis": 10,
    "memory_bytes": 8 * 1024**2,
    "disk_bytes": 1024**2,
    "keys_max": 1000,
}
_WORDS: Final[dict[Resource, str]] = {
    "cpu_millis": "cpu",
    "memory_bytes": "memory",
    "disk_bytes": "disk",
    "keys_max": "keys",
}
# Beside thousandths of a resource: another farm is a small thing, a promise to the user is not.
_RELAXED_COST: Final = {"nodes": 300, "farms": 310, "countries": 600, "trust": 980, "spread": 990}
_CHANGES_MAX: Final = 5
_NODES_TRIED_MAX: Final = 48
_RANK_MAX: Final = 512
_STEPS_TRIED_MAX: Final = 2_000


class Change(Value, frozen=True):
    """One change that makes an order fit: `field` of these workloads becomes `value`.

    `parameters` says the same as settings of the recipe (`--set memory=64MiB`), where one of them
    decides it.
    """

    field: Field
    workloads: tuple[Name, ...]
    value: str | Integer | tuple[str, ...]
    text: Text
    parameters: dict[str, str] = msgspec.field(default_factory=dict)


def apply_change(workloads: Sequence[Workload], change: Change) -> tuple[Workload, ...]:
    """The workloads with a change made; a higher price cap leaves them as they are."""
    return tuple(_changed(w, change) if w.name in change.workloads else w for w in workloads)


def _changed(workload: Workload, change: Change) -> Workload:
    if isinstance(workload, Network):
        return workload
    value: Any = change.value
    if change.field in _STEPS:
        value = min(value, getattr(workload, change.field))
        return msgspec.structs.replace(workload, **{change.field: value})
    asks = msgspec.structs.replace(workload.constraints, **{change.field: value})
    return msgspec.structs.replace(workload, constraints=asks)


def find_changes(
    order: Order, recipe: Recipe, workloads: Sequence[Workload], inventory: Inventory
) -> tuple[Change, ...]:
    """Changes each of which would fit, the smallest first; empty if none of those tried does."""
    cap = None if order.price_cap_per_day is None else int(order.price_cap_per_day)
    few = _emptiest(inventory.nodes)

    def fits(changed: Sequence[Workload], nodes: Sequence[NodeInfo]) -> Found | None:
        found = search(
            changed, nodes, payment=order.payment, cap=cap, steps=_STEPS_TRIED_MAX, explain=False
        )
        return found if isinstance(found, Found) else None

    tried = [
        *_less(recipe, workloads, lambda changed: fits(changed, few) is not None),
        *_relaxed(workloads, lambda changed: fits(changed, inventory.nodes)),
        *_dearer(order, workloads, inventory),
    ]
    tried.sort(key=lambda pair: (pair[0], pair[1].field, pair[1].workloads))
    return tuple(change for _, change in tried)[:_CHANGES_MAX]


def _emptiest(nodes: Sequence[NodeInfo]) -> list[NodeInfo]:
    """The nodes worth a trial: the emptiest of each farm and of all, in each dimension."""
    kept: dict[str, NodeInfo] = {}
    per_farm: dict[tuple[str, str], int] = {}
    for name in ("memory_bytes", "cpu_millis", "ssd_bytes", "hdd_bytes"):
        ordered = sorted(nodes, key=lambda n: (-getattr(n.free, name), n.node))
        for rank, node in enumerate(ordered):
            key = (name, node.farm)
            per_farm[key] = per_farm.get(key, 0) + 1
            if rank < _NODES_TRIED_MAX or (rank < _RANK_MAX and per_farm[key] <= 2):
                kept[node.node] = node
    gateways = [node for node in nodes if "gateway" in node.roles]
    return list((kept | {node.node: node for node in gateways[:_NODES_TRIED_MAX]}).values())


def _like(workloads: Sequence[Workload]) -> list[list[Inhabitant]]:
    """Workloads of a kind that ask for the same, together."""
    groups: dict[object, list[Inhabitant]] = {}
    for workload in workloads:
        if not isinstance(workload, Network | Route):
            key = (type(workload), asked(workload), workload.constraints)
            groups.setdefault(key, []).append(workload)
    return list(groups.values())


def _less(
    recipe: Recipe, workloads: Sequence[Workload], fits: Callable[[Sequence[Workload]], bool]
) -> Iterator[tuple[int, Change]]:
    """Less of one resource for like workloads; for all that have it where that alone is no help."""
    for name in _STEPS:
        groups = [group for group in _like(workloads) if hasattr(group[0], name)]
        everyone = [workload for group in groups for workload in group]
        found = [_lowered(recipe, workloads, group, name, fits) for group in groups]
        if not any(found) and len(groups) > 1:
            found = [_lowered(recipe, workloads, everyone, name, fits)]
        yield from (pair for pair in found if pair)


def _lowered(
    recipe: Recipe,
    workloads: Sequence[Workload],
    group: Sequence[Inhabitant],
    name: Resource,
    fits: Callable[[Sequence[Workload]], bool],
) -> tuple[int, Change] | None:
    """The most of one resource with which these workloads fit, and how much less that is."""
    names = tuple(workload.name for workload in group)
    now = max(getattr(workload, name) for workload in group)
    bare = Change(field=name, workloads=names, value=now, text="")

    def fits_with(value: int) -> bool:
        return fits(apply_change(workloads, msgspec.structs.replace(bare, value=value)))

    value = _most(_LEAST[name], now, _STEPS[name], fits_with)
    if value is None:
        return None
    text = _text(name, value)
    settings = _settings(recipe, names, name, text)
    short = " ".join(f"--set {key}={setting}" for key, setting in settings.items())
    words = f"lower {_WORDS[name]} of {', '.join(names)} to {text}"
    change = msgspec.structs.replace(
        bare, value=value, parameters=settings, text=f"{words} ({short})" if short else words
    )
    return 1000 * (now - value) // now, change


def _text(name: Resource, value: int) -> str:
    """A value as text that reads back as the same number; sizes are whole MiB."""
    if name == "cpu_millis":
        return f"{value / 1000:g}"
    if name == "keys_max":
        return str(value)
    mebibytes = value // 1024**2
    return f"{mebibytes}MiB" if mebibytes % 1024 else f"{mebibytes // 1024}GiB"


def _most(least: int, now: int, step: int, fits: Callable[[int], bool]) -> int | None:
    """The largest value below `now`, in steps, that fits; None if even the least does not."""
    low, high = -(-least // step), (now - 1) // step
    if high < low or not fits(low * step):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * step) else (low, middle - 1)
    return low * step


def _settings(recipe: Recipe, names: Sequence[str], field: Resource, text: str) -> dict[str, str]:
    """The recipe's parameters that alone decide this field of these workloads."""
    found: dict[str, str] = {}
    for template in recipe.workloads:
        if any(name == template.name or name.startswith(f"{template.name}-") for name in names):
            whole = str(_body(template).get(_WORDS[field], ""))
            if not (whole.startswith("${") and whole.endswith("}") and whole.count("$") == 1):
                return {}
            found[whole[2:-1]] = text
    return found


def _body(template: Template) -> dict[str, Any]:
    return msgspec.json.decode(template.body, type=dict[str, Any])


def _relaxed(
    workloads: Sequence[Workload], fits: Callable[[Sequence[Workload]], Found | None]
) -> Iterator[tuple[int, Change]]:
    """One constraint loosened for all workloads that have it alike."""
    groups: dict[Constraints, list[str]] = {}
    for workload in workloads:
        if not isinstance(workload, Network):
            groups.setdefault(workload.constraints, []).append(workload.name)
    for asks, members in groups.items():
        names = tuple(members)
        for field in ("nodes", "farms", "countries", "trust"):
            if getattr(asks, field):
                change = _wider(workloads, field, names, asks, fits)
                if change:
                    yield _RELAXED_COST[field], change
        for weaker in {"country": ("farm", "node"), "farm": ("node",)}.get(asks.spread, ()):
            change = Change(
                field="spread", workloads=names, value=weaker,
                text=f"keep {', '.join(names)} apart by {weaker} only (spread={weaker})",
            )  # fmt: skip
            if fits(apply_change(workloads, change)):
                yield _RELAXED_COST["spread"], change
                break


def _wider(
    workloads: Sequence[Workload],
    field: Any,
    names: tuple[str, ...],
    asks: Constraints,
    fits: Callable[[Sequence[Workload]], Found | None],
) -> Change | None:
    """A constraint with what is missing in it added; what that is, a search without it tells."""
    free = Change(field=field, workloads=names, value=(), text="")
    found = fits(apply_change(workloads, free))
    if found is None:
        return None
    attribute = {"nodes": "node", "farms": "farm", "countries": "country", "trust": "trust"}[field]
    label = {"nodes": "name", "farms": "farm_name"}.get(field, attribute)
    added: dict[str, str] = {}
    for name in names:
        node = found.nodes[name]
        if getattr(node, attribute) not in getattr(asks, field):
            added[getattr(node, attribute)] = getattr(node, label)
    return Change(
        field=field, workloads=names, value=(*getattr(asks, field), *sorted(added)),
        text=f"allow {attribute} {', '.join(sorted(added.values()))} for {', '.join(names)}",
    )  # fmt: skip


def _dearer(
    order: Order, workloads: Sequence[Workload], inventory: Inventory
) -> Iterator[tuple[int, Change]]:
    """A price cap that is just enough, if it was the cap that stood in the way."""
    cap = order.price_cap_per_day
    if cap is None:
        return
    found = search(
        workloads, inventory.nodes, payment=order.payment, steps=_STEPS_TRIED_MAX, explain=False
    )
    if isinstance(found, Found):
        price = sum(
            int(found.nodes[w.name].prices.of(asked(w)))
            for w in workloads if not isinstance(w, Network)
        )  # fmt: skip
        money = Money(amount=str(price))
        more = 1000 * (price - int(cap)) // max(1, int(cap))
        yield more, Change(
            field="price_cap_per_day", workloads=(), value=money.amount,
            text=f"raise the price cap to {money_text(money)} a day",
        )  # fmt: skip
