"""From a recipe to a contract: what was agreed, by whom, where it runs and how it stands.

    recipe --(order, planner)--> Plan: agreement + placement 0 --contract.propose--> proposed
    proposed --contract.approve--> approved --contract.receipt--> accepted, running, ... ended

All of it is arithmetic on records: no clock, no chance, no I/O. Ledger, nodes and clients run the
same functions.

    from tfgrid.ledger import contract
    recipe = contract.parse_recipe_yaml(text)
    made = contract.plan(order, recipe, images, farm.inventory(view, now_ms, size))
    state = contract.read(view, contract_id, now_ms)

| module | what it holds |
|---|---|
| `model` | recipe reference, agreement, placement, approval, receipt |
| `policy` | weighted quorums: what can be met, and how votes are counted |
| `phases` | the table of phases |
| `receipts` | what nodes may do in a phase, and which receipts are legal |
| `checks` | whether a first proposal is whole, permitted, priced, funded and fits |
| `updates` | what a later version may change, and what is held until it is there |
| `records` | the kinds: who may write which, and what is checked |
| `state` | reading contracts from a view |
| `recipe` | recipes as values, and the YAML in which people write them |
| `addresses` | ranges, subnets and addresses of a contract's networks |
| `planner` | order to plan: the search for places, and what would fit instead |
| `wording` | what a workload asks for, as people are told it |
| `proof` | which entries prove a contract, and the verdict on a bundle of them |
"""

import importlib
from typing import TYPE_CHECKING

from tfgrid.ledger.contract.checks import funding_check
from tfgrid.ledger.contract.model import (
    ZDB_PORT,
    Access,
    Action,
    Agreement,
    Approval,
    Approver,
    Assignment,
    Constraints,
    Container,
    DiskClass,
    Endpoint,
    HealthCheck,
    Image,
    Inhabitant,
    Member,
    Network,
    NetworkPlace,
    Placed,
    Placement,
    Policy,
    Proposal,
    Receipt,
    ReceiptState,
    RecipeRef,
    Route,
    Rule,
    Usage,
    Workload,
    ZdbNamespace,
    agreement_digest,
    asked,
    contract_id,
    proposal_digest,
)
from tfgrid.ledger.contract.phases import (
    PHASES_FINAL,
    TRANSITIONS,
    Event,
    Phase,
    validity_over,
)
from tfgrid.ledger.contract.policy import Tally, Vote
from tfgrid.ledger.contract.proof import Verdict, positions, verdict
from tfgrid.ledger.contract.receipts import check_receipt, may_start, must_stop, receipt_allowed
from tfgrid.ledger.contract.recipe import Parameter, Recipe, recipe_digest, recipe_ref, render
from tfgrid.ledger.contract.records import kinds
from tfgrid.ledger.contract.state import (
    Ballot,
    ContractState,
    ReceiptFact,
    contracts,
    contracts_of_node,
    read,
    read_recipe,
    recipes,
)
from tfgrid.ledger.contract.wording import asks_text

if TYPE_CHECKING:
    from tfgrid.ledger.contract.planner import (
        Change,
        Order,
        Plan,
        PlanRow,
        Resize,
        check_plan,
        plan,
        plan_digest,
        plan_update,
    )
    from tfgrid.ledger.contract.recipe import Finding, lint_recipe_yaml, parse_recipe_yaml

__all__ = [
    "PHASES_FINAL",
    "TRANSITIONS",
    "ZDB_PORT",
    "Access",
    "Action",
    "Agreement",
    "Approval",
    "Approver",
    "Assignment",
    "Ballot",
    "Change",
    "Constraints",
    "Container",
    "ContractState",
    "DiskClass",
    "Endpoint",
    "Event",
    "Finding",
    "HealthCheck",
    "Image",
    "Inhabitant",
    "Member",
    "Network",
    "NetworkPlace",
    "Order",
    "Parameter",
    "Phase",
    "Placed",
    "Placement",
    "Plan",
    "PlanRow",
    "Policy",
    "Proposal",
    "Receipt",
    "ReceiptFact",
    "ReceiptState",
    "Recipe",
    "RecipeRef",
    "Resize",
    "Route",
    "Rule",
    "Tally",
    "Usage",
    "Verdict",
    "Vote",
    "Workload",
    "ZdbNamespace",
    "agreement_digest",
    "asked",
    "asks_text",
    "check_plan",
    "check_receipt",
    "contract_id",
    "contracts",
    "contracts_of_node",
    "funding_check",
    "kinds",
    "lint_recipe_yaml",
    "may_start",
    "must_stop",
    "parse_recipe_yaml",
    "plan",
    "plan_digest",
    "plan_update",
    "positions",
    "proposal_digest",
    "read",
    "read_recipe",
    "receipt_allowed",
    "recipe_digest",
    "recipe_ref",
    "recipes",
    "render",
    "validity_over",
    "verdict",
]


_PLANNER = {
    "Change",
    "Order",
    "Plan",
    "PlanRow",
    "Resize",
    "check_plan",
    "plan",
    "plan_digest",
    "plan_update",
}


def __getattr__(name: str) -> object:
    # Loaded on first use: only who reads recipes as text needs YAML, and only who orders a planner.
    if name not in __all__:
        raise AttributeError(name)
    home = "planner" if name in _PLANNER else "recipe"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
