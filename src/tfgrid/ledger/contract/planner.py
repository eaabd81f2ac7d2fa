"""Order to plan: a pure function of order, recipe and inventory.

A plan holds the proposal that it would register, byte for byte, and why each workload is where it is. It cannot act:
whoever registers it runs `check_plan` against the view of that moment, which refuses a plan that is stale.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfgrid.core import canonical, errors, ids
from tfgrid.core.ids import Digest
from tfgrid.core.schema import Base64, Count, Moment, Name, Seconds, Text, Value
from tfgrid.core.units import Money
from tfgrid.ledger import bcdb
from tfgrid.ledger.contract.model import Access, Image, Policy, Proposal
from tfgrid.ledger.contract.recipe import Recipe
from tfgrid.ledger.farm import Inventory, Payment

__all__ = ["Order", "Plan", "PlanRow", "check_plan", "plan", "plan_digest"]


class Order(Value, frozen=True):
    """What a consumer asks of a recipe.

    `approvers` fills the roles of the recipe's rules; `policy`, if given, replaces them. Without a price cap
    the cap is the planned price. `salt` (22 base64url characters) makes two like orders two contracts.
    `farms`, `countries` and `trust`, if given, hold for every workload beside its own constraints.
    """

    ledger: ids.Ledger
    owner: ids.Author
    name: Name
    salt: Base64
    parameters: dict[str, str | int | bool] = {}
    approvers: dict[Name, tuple[ids.Author, ...]] = {}
    policy: Policy | None = None
    access: Access | None = None
    payment: Payment = "none"
    price_cap_per_day: Money | None = None
    valid_seconds: Seconds = 30 * 86_400


class PlanRow(Value, frozen=True):
    """One line of the table that people are shown; `reason` says why this node."""

    workload: Name
    kind: str
    node: ids.Node
    node_name: str
    farm: ids.Farm
    farm_name: str
    cpu_millis: Count
    memory_bytes: Count
    disk_bytes: Count
    image: str
    addresses: tuple[str, ...]
    price_per_day: Money
    reason: Text


class Plan(Value, frozen=True, tag="plan", tag_field="type"):
    """What would be registered, and the position of the ledger at which it was planned."""

    proposal: Proposal
    rows: tuple[PlanRow, ...]
    order_time: Moment
    size: Count


def plan_digest(plan: Plan) -> Digest:
    """The name of a plan: the hash of its canonical form."""
    return canonical.digest(canonical.encode(plan))


def plan(order: Order, recipe: Recipe, images: Mapping[str, Image], inventory: Inventory) -> Plan:
    """Plan an order; the same arguments give the same bytes.

    Raises:
        errors.NoFit: TFG-2350; `details["reasons"]` maps each refused node's id to its reasons per workload,
            `details["changes"]` lists the smallest changes that would fit, the first being the hint.
        errors.BadInput: what `render` raises; TFG-2351, a role of the recipe's rules has no approver.

    """
    raise errors.NoFit("TFG-2350", "no node fits")


def check_plan(plan: Plan, view: bcdb.View, now_ms: int) -> None:
    """Hold that a plan can be registered now, exactly as it is.

    Raises:
        errors.Conflict: TFG-2352, the world moved; the cause says how.

    """
