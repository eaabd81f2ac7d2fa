"""What a consumer asks of a recipe, and what a plan says."""

from __future__ import annotations

from msgspec import field

from tfgrid.core import canonical, ids
from tfgrid.core.ids import Digest
from tfgrid.core.schema import Base64, Count, Integer, Moment, Name, Seconds, Text, Value
from tfgrid.core.units import Money
from tfgrid.ledger.contract.model import Access, Policy, Proposal
from tfgrid.ledger.farm import Payment

__all__ = ["Order", "Plan", "PlanRow", "plan_digest"]


class Order(Value, frozen=True):
    """What a consumer asks of a recipe.

    `approvers` fills the roles of the recipe's rules; `policy`, if given, replaces them. Without a
    price cap the cap is the planned price. `salt` (16 random bytes as base64url) makes two like
    orders two contracts.
    """

    ledger: ids.Ledger
    owner: ids.Author
    name: Name
    salt: Base64
    parameters: dict[str, str | Integer | bool] = field(default_factory=dict)
    approvers: dict[Name, tuple[ids.Author, ...]] = field(default_factory=dict)
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
