"""A contract with two namespaces for tests of its later versions: ordered, running, updated."""

from __future__ import annotations

from typing import Any

from tests.contract.stage import GIB, IMAGES, LEDGER, STAKEHOLDERS, Running, Stage, who
from tfgrid.ledger import contract, farm

PROPOSE, APPROVE = "contract.propose", "contract.approve"
NOTES = """\
name: notes
version: 1.0.0
workloads:
  net: {type: network}
  data: {type: zdb, network: net, disk: 1GiB, keys: 1000}
  more: {type: zdb, network: net, disk: 1GiB, keys: 1000, mode: seq}
  app: {type: container, image: redis, network: net, cpu: 0.1, memory: 32MiB, disk: 16MiB}
policy:
  deploy: {weight: 2, expires: 1h, roles: {budget: 1, security: 1, legal: 1}}
  delete: {weight: 1, expires: 1h, roles: {budget: 1, security: 1, legal: 1}}
"""
ALONE = NOTES.partition("policy:")[0]
PRICES = farm.Prices(cru=10_000_000, mru=4_000_000, sru=100_000)


def notes_stage(text: str = NOTES) -> Stage:
    """One farm with one node, the recipe, an owner, three stakeholders."""
    stage = Stage()
    stage.join("founder", "expert", "alice", "mallory", *STAKEHOLDERS)
    stage.add_farm("f1", "BE")
    stage.add_node("n1", "f1")
    recipe = contract.parse_recipe_yaml(text, author=who("expert"))
    stage.write("expert", "recipe.publish", recipe)
    return stage


def ordered(stage: Stage, salt: str = "A") -> Running:
    """The notes, ordered by alice and not approved."""
    recipe = contract.read_recipe(stage.view, "notes")
    people: dict[str, tuple[Any, ...]] = {role: (who(role),) for role in STAKEHOLDERS}
    order = contract.Order(
        ledger=LEDGER, owner=who("alice"), name="notes", salt=salt * 22,
        approvers=people if recipe.deploy.roles else {},
    )  # fmt: skip
    plan = contract.plan(order, recipe, IMAGES, stage.inventory())
    stage.write("alice", PROPOSE, plan.proposal)
    return Running(stage, plan.proposal)


def notes(text: str = NOTES) -> tuple[Stage, Running]:
    """The notes with every workload running, each namespace as agreed."""
    stage = notes_stage(text)
    running = ordered(stage)
    if text == NOTES:
        running.approve("budget", "legal")
    running.accept()
    for name in ("data", "more"):
        running.report("n1", "running", name, limits=limits_of(GIB))
    running.report("n1", "running", "app")
    assert running.phase == "running"
    return stage, running


def limits_of(disk_bytes: int, keys_max: int = 1000) -> contract.Usage:
    """What a node reads back of a namespace."""
    return contract.Usage(disk_bytes=disk_bytes, keys_max=keys_max)


def update(stage: Stage, running: Running, workload: str = "data", **sizes: Any) -> contract.Plan:
    """What alice would propose for one namespace."""
    resize = contract.Resize(workload=workload, **sizes)
    return contract.plan_update(
        stage.view, running.id, resize, now_ms=stage.now_ms, size=stage.position
    )


def vote(plan: contract.Plan, running: Running, role: str, **fields: Any) -> contract.Approval:
    """What a stakeholder signs of an update."""
    given: dict[str, Any] = {
        "contract": running.id, "subject": contract.proposal_digest(plan.proposal),
        "action": "update", "role": role, "decision": "approve",
    }  # fmt: skip
    return contract.Approval(**(given | fields))
