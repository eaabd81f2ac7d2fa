"""Order to plan: a pure function of order, recipe and inventory.

A plan holds the proposal that it would register, byte for byte, and why each workload is where it
is. It cannot act: whoever registers it runs `check_plan` against the view of that moment, which
refuses a plan that is stale.

| module | what it holds |
|---|---|
| `order` | what is asked, and what a plan says |
| `search` | places for workloads: cheapest first, complete, with every reason |
| `changes` | the smallest change that would fit |
| `making` | from order to plan |
| `updating` | from sizes to the next version of a contract |
"""

from tfgrid.ledger.contract.planner.changes import Change, apply_change
from tfgrid.ledger.contract.planner.making import check_plan, plan
from tfgrid.ledger.contract.planner.order import Order, Plan, PlanRow, plan_digest
from tfgrid.ledger.contract.planner.search import Found, Refused, search
from tfgrid.ledger.contract.planner.updating import Resize, plan_update

__all__ = [
    "Change",
    "Found",
    "Order",
    "Plan",
    "PlanRow",
    "Refused",
    "Resize",
    "apply_change",
    "check_plan",
    "plan",
    "plan_digest",
    "plan_update",
    "search",
]
