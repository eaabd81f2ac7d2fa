"""Contract records written by this version are those of the frozen vectors, byte for byte.

`tests/vectors/contract_v1.json` was written before there were zdb namespaces, but for the parts
whose names begin with `zdb`. It is changed only together with a new version of a format.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contract.stage import GIB, guestbook_stage, who
from tests.contract.zdb import notes
from tfgrid.core import canonical
from tfgrid.core.schema import Value
from tfgrid.ledger import contract

VECTORS = Path(__file__).parents[1] / "vectors" / "contract_v1.json"


def made() -> dict[str, Value]:
    """A value of each kind of record, the same in every run."""
    stage = guestbook_stage()
    running = stage.propose().approve("budget", "legal").accept()
    web = running.proposal.placement.assignments[1]
    names = {node.node: node.name for node in stage.inventory().nodes}
    receipt = running.receipt(names[web.node], "running", web.workload)
    usage = contract.Usage(cpu_millis=250, memory_bytes=64 * 1024**2, processes=4096)
    return {
        "recipe": contract.read_recipe(stage.view, "guestbook"),
        "plan": stage.plan(salt="B" * 22, parameters={"host": "b.grid.localhost"}),
        "proposal": running.proposal,
        "approval": running.approval("budget"),
        "receipt accepted": running.receipt("n1", "accepted"),
        "receipt running": contract.Receipt(
            contract=receipt.contract, placement=0, workload=receipt.workload, state="running",
            image=receipt.image, limits=usage, at=1_750_000_000_000,
        ),
        **_namespaces(receipt),
    }  # fmt: skip


def _namespaces(receipt: contract.Receipt) -> dict[str, Value]:
    held = contract.Usage(disk_bytes=1024**3, keys_max=1_000_000)
    spread = contract.Constraints(group="data", spread="node")
    return {
        "zdb": contract.ZdbNamespace(name="data", network="net", disk_bytes=1024**3),
        "zdb in full": contract.ZdbNamespace(
            name="data-1", network="net", disk_bytes=64 * 1024**3, keys_max=5, mode="seq",
            history="since:1750000000", disk_class="hdd", constraints=spread,
        ),
        "zdb receipt": contract.Receipt(
            contract=receipt.contract, placement=0, workload="data", state="running", limits=held,
            at=1_750_000_000_000,
        ),
        **_later_version(),
        "zdb recipe": contract.parse_recipe_yaml(_RECIPE, author=who("expert")),
    }  # fmt: skip


def _later_version() -> dict[str, Value]:
    stage, running = notes.notes()
    plan = notes.update(stage, running, disk_bytes=2 * GIB, history="last:3")
    return {
        "zdb update": plan.proposal,
        "zdb update approval": notes.vote(plan, running, "legal"),
    }


_RECIPE = """\
name: notes
version: 1.0.0
workloads:
  net: {type: network}
  data: {type: zdb, network: net, disk: 1GiB, keys: 1000, mode: seq, replicas: 2}
"""


def read() -> dict[str, str]:
    """The frozen documents, by name."""
    found: dict[str, str] = json.loads(VECTORS.read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", sorted(read()))
def test_what_is_written_is_what_was_frozen(name: str) -> None:
    """The same value has the same bytes as when the vector was made, and so the same digest."""
    assert canonical.encode(made()[name]).decode() == read()[name]


@pytest.mark.parametrize("name", sorted(read()))
def test_what_was_frozen_is_read(name: str) -> None:
    """The frozen bytes are a canonical document of today's type."""
    value = made()[name]
    assert canonical.parse(read()[name].encode(), type(value)) == value


def test_every_value_has_its_vector() -> None:
    """No record is without a frozen example."""
    assert set(read()) == set(made())
