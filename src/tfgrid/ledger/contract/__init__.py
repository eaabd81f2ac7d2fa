"""From a recipe to a contract: what was agreed, by whom, where it runs and how it stands.

    recipe --(order, planner)--> Plan: agreement + placement 0 --contract.propose--> proposed
    proposed --contract.approve--> approved --contract.receipt--> accepted, running, ... ended

All of it is arithmetic on records: no clock, no chance, no I/O. Ledger, nodes and clients run the same functions.

    from tfgrid.ledger import contract
    recipe = contract.parse_recipe_yaml(text)
    made = contract.plan(order, recipe, images, farm.inventory(view, now_ms, size))
    state = contract.read(view, contract_id, now_ms)

| module | what it holds |
|---|---|
| `model` | recipe reference, agreement, placement, approval, receipt |
| `policy` | weighted quorums: what can be met, and how votes are counted |
| `phases` | the table of phases, and what nodes may conclude from one |
| `ranges` | subnets and addresses of a contract's networks |
| `checks` | whether a proposal is whole, permitted, priced, funded and fits |
| `records` | the kinds: who may write which, and what is checked |
| `state` | reading contracts from a view |
| `recipe`, `document` | recipes as values, and the YAML in which people write them |
| `planner`, `search`, `changes` | order and plan; the search for places; the smallest change that would fit |
| `proof` | which entries prove a contract, and the verdict on a bundle of them |
"""

from tfgrid.ledger.contract.changes import Change
from tfgrid.ledger.contract.checks import check_proposal, funding_check
from tfgrid.ledger.contract.document import Finding, lint_recipe_yaml, parse_recipe_yaml
from tfgrid.ledger.contract.model import (
    Access,
    Action,
    Agreement,
    Approval,
    Approver,
    Assignment,
    Constraints,
    Container,
    Endpoint,
    HealthCheck,
    Image,
    Member,
    Network,
    NetworkPlace,
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
    contract_id,
    proposal_digest,
)
from tfgrid.ledger.contract.phases import (
    PHASES_FINAL,
    TRANSITIONS,
    Event,
    Phase,
    may_start,
    must_stop,
    receipt_allowed,
    validity_over,
)
from tfgrid.ledger.contract.planner import Order, Plan, PlanRow, check_plan, plan, plan_digest
from tfgrid.ledger.contract.policy import Tally, Vote
from tfgrid.ledger.contract.proof import Verdict, positions, verdict
from tfgrid.ledger.contract.recipe import Parameter, Recipe, recipe_digest, recipe_ref, render
from tfgrid.ledger.contract.records import kinds
from tfgrid.ledger.contract.state import (
    ContractState,
    ReceiptFact,
    contracts,
    contracts_of_node,
    read,
    read_recipe,
    recipes,
)

__all__ = [
    "Access",
    "Action",
    "Agreement",
    "Approval",
    "Approver",
    "Assignment",
    "Change",
    "Constraints",
    "Container",
    "ContractState",
    "Endpoint",
    "Event",
    "Finding",
    "HealthCheck",
    "Image",
    "Member",
    "Network",
    "NetworkPlace",
    "Order",
    "PHASES_FINAL",
    "Parameter",
    "Phase",
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
    "Route",
    "Rule",
    "TRANSITIONS",
    "Tally",
    "Usage",
    "Verdict",
    "Vote",
    "Workload",
    "check_plan",
    "check_proposal",
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
