"""A zdb namespace as people are shown it: in a plan, a contract, why, and a proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.ground import Ground

pytestmark = pytest.mark.slow

RECIPE = """\
name: stored
version: 1.0.0
parameters:
  size: {type: size, default: 1GiB}
workloads:
  net: {type: network}
  data: {type: zdb, network: net, disk: "${size}", keys: 1000, history: last:2}
"""
WORDS = "1 GiB on ssd, at most 1,000 keys chosen by clients, the last 2 versions of each kept"


@pytest.fixture(scope="module")
def contract(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a contract for one namespace, which its owner alone decided."""
    file = tmp_path_factory.mktemp("recipe") / "stored.yaml"
    file.write_text(RECIPE)
    assert ground.run("recipe", "publish", str(file)).exit_code == 0
    told = ground.run("deploy", "stored", "--yes", "--no-wait", "--json")
    assert told.exit_code in {0, 10}, told.stderr
    found: str = json.loads(told.stdout)["contract"]
    return found


def _json(ground: Ground, *arguments: str) -> Any:
    told = ground.run(*arguments, "--json")
    assert told.exit_code == 0, told.stderr
    return json.loads(told.stdout)


def test_a_plan_says_what_it_holds(ground: Ground, contract: str) -> None:
    """The table has kind, node, memory and price, and in words what is reserved."""
    assert contract
    (row,) = _json(ground, "plan", "stored")["rows"]
    assert (row["kind"], row["disk_bytes"], row["memory_bytes"]) == ("zdb", 1024**3, 40_000)
    assert row["asks"] == WORDS
    told = " ".join(ground.run("plan", "stored").stdout.split())
    assert WORDS in told and " zdb " in told


def test_no_fit_says_what_would(ground: Ground, contract: str) -> None:
    """More disk than any node has is refused with each node's figures and the size that fits."""
    assert contract
    told = ground.run("plan", "stored", "--set", "size=1TiB")
    assert told.exit_code == 7
    assert "disk: 1 TiB asked" in told.stderr
    assert "--set size=" in told.stderr


def test_a_contract_says_where_it_is_reached(ground: Ground, contract: str) -> None:
    """`contract show` has address and port, and what was agreed in words; `why` names it."""
    (row,) = _json(ground, "contract", "show", contract)["workloads"]
    assert (row["kind"], row["asks"]) == ("zdb", WORDS)
    assert row["address"].startswith("10.") and row["address"].endswith(":9900")
    told = " ".join(ground.run("contract", "show", contract).stdout.split())
    assert WORDS in told and row["address"] in told
    assert ground.run("contract", "why", contract).exit_code == 0
    assert contract in ground.run("contract", "list", "--json").stdout


def test_a_proof_says_it_offline(ground: Ground, contract: str, tmp_path: Path) -> None:
    """The verified proof tells of the namespace what was agreed."""
    file = tmp_path / "proof"
    assert ground.run("contract", "proof", contract, "-o", str(file)).exit_code == 0
    told = _json(ground, "contract", "verify", str(file))
    assert any(part.startswith("data on ") and WORDS in part for part in told["parts"])
