"""`contract update` as people see it: planned, waiting, signed, in force, settled, or refused."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.ground import GIB, Ground
from tfgrid.core import canonical
from tfgrid.core.clock import SystemClock
from tfgrid.core.identity import Keyring
from tfgrid.core.rng import SeededRng
from tfgrid.core.store import MemoryStore
from tfgrid.doors.localgrid import kinds
from tfgrid.ledger import bcdb, contract

pytestmark = pytest.mark.slow

RECIPE = """\
name: {name}
version: 1.0.0
{policy}
workloads:
  net: {{type: network}}
  data: {{type: zdb, network: net, disk: 1GiB, keys: 1000}}
"""
QUORUM = """\
policy:
  deploy: {roles: {budget: 1, security: 1, legal: 1}, weight: 2, expires: 1d}
"""


class Notes:
    """A contract for one namespace, and the node that has it."""

    def __init__(self, ground: Ground, folder: Path, name: str, policy: str) -> None:
        self.ground, self.name = ground, name
        file = folder / f"{name}.yaml"
        file.write_text(RECIPE.format(name=name, policy=policy))
        assert ground.run("recipe", "publish", str(file)).exit_code == 0
        ground.run("deploy", name, "--yes", "--no-wait")
        if policy:
            for role in ("budget", "legal"):
                told = ground.run("contract", "sign", name, "--as", role, "--yes")
                assert told.exit_code == 0, told.stderr
        state = self.state
        places = state.proposal.placement.networks
        ends = tuple(
            contract.Endpoint(
                network=place.network,
                public_key=canonical.text_from(canonical.sha256(name.encode())),
                endpoint=f"{self._address}:51820",
            )
            for place in places
        )
        self.say("accepted", workload="", endpoints=ends)
        self.holds(GIB)

    @property
    def state(self) -> contract.ContractState:
        """How the contract stands."""
        follower = bcdb.Follower(
            self.ground.transport, self.ground.grid.trust, registry=kinds.registry(),
            store=MemoryStore(), clock=SystemClock(),
        )  # fmt: skip
        asyncio.run(follower.sync())
        found = contract.contracts(follower.view, follower.order_time_ms())
        return next(s for s in found if s.proposal.agreement.name == self.name)

    @property
    def _node(self) -> Any:
        (one,) = self.state.proposal.placement.assignments
        return next(
            entry for entry in self.ground.grid.nodes if self._ring(entry.name).identity == one.node
        )

    @property
    def _address(self) -> str:
        return self.ground.grid.address(self._node)

    def _ring(self, name: str) -> Keyring:
        return Keyring.new(name, SeededRng(f"{self.ground.paths.root}{name}"))

    def say(self, state: Any, *, workload: str = "data", **fields: Any) -> None:
        """A receipt of the node."""
        client = bcdb.Client(self.ground.transport, self.ground.grid.trust)
        ring = self._ring(self._node.name)
        author = bcdb.Author(ring, client, SystemClock(), registry=kinds.registry())
        body = contract.Receipt(
            contract=self.state.contract, placement=0, workload=workload, state=state, **fields
        )
        asyncio.run(author.submit("contract.receipt", body))

    def holds(self, disk_bytes: int) -> None:
        """The node says that the namespace runs with this size."""
        limits = contract.Usage(disk_bytes=disk_bytes, keys_max=1000)
        self.say("running", limits=limits)

    def update(self, *flags: str) -> Any:
        """`contract update` of its namespace."""
        return self.ground.run("contract", "update", self.name, "data", *flags)

    def shown(self) -> Any:
        """`contract show --json`."""
        return json.loads(self.ground.run("contract", "show", self.name, "--json").stdout)


@pytest.fixture
def alone(ground: Ground, tmp_path: Path) -> Notes:
    """A contract that its owner decides about alone."""
    return Notes(ground, tmp_path, f"alone{next(_numbers)}", "")


@pytest.fixture
def agreed(ground: Ground, tmp_path: Path) -> Notes:
    """A contract that two of three must approve."""
    return Notes(ground, tmp_path, f"agreed{next(_numbers)}", QUORUM)


_numbers = itertools.count(1)


def test_a_dry_run_shows_what_would_be_and_writes_nothing(alone: Notes) -> None:
    """Both sizes, the price and the hash are shown; the ledger does not grow."""
    before = alone.ground.ledger.head[1].size
    told = alone.update("--disk", "2GiB", "--dry-run")
    assert told.exit_code == 0, told.stderr
    words = " ".join(told.stdout.split())
    assert "to version 2" in words and "2 GiB on ssd" in words and "was 1 GiB on ssd" in words
    assert "the owner" in words and "nothing was" in told.stdout + told.stderr
    assert alone.ground.ledger.head[1].size == before


def test_what_is_possible_is_asked_before_anybody(alone: Notes) -> None:
    """No size, no such workload, nonsense and no room each have their code and their reason."""
    for flags, code, exit_code in (
        ((), "TFG-2388", 2),
        (("--disk", "lots"), "TFG-1003", 2),
        (("--disk", "1KiB"), "TFG-2354", 2),
        (("--history", "some"), "TFG-2354", 2),
        (("--disk", "9TiB"), "TFG-2376", 6),
    ):
        told = alone.update(*flags, "--yes")
        assert code in told.stderr, (flags, told.stderr)
        assert told.exit_code == exit_code
    told = alone.ground.run("contract", "update", alone.name, "net", "--disk", "2GiB", "--yes")
    assert "TFG-2354" in told.stderr
    told = alone.ground.run("contract", "update", alone.name, "date", "--disk", "2GiB", "--yes")
    assert "TFG-2353" in told.stderr and told.exit_code == 4


def test_a_no_changes_nothing(alone: Notes) -> None:
    """Whoever does not answer yes registers nothing."""
    before = alone.ground.ledger.head[1].size
    told = alone.ground.run("contract", "update", alone.name, "data", "--disk", "2GiB", typed="n\n")
    assert told.exit_code != 0
    assert alone.ground.ledger.head[1].size == before


def test_it_is_in_force_and_then_settled(alone: Notes) -> None:
    """The owner alone decides; until the node has said so it is told that it has not."""
    told = alone.update("--disk", "2GiB", "--yes", "--no-wait", "--json")
    assert told.exit_code == 0, told.stderr
    answer = json.loads(told.stdout)
    assert (answer["state"], answer["version"]) == ("in force", 2)
    shown = alone.shown()
    assert shown["version"] == 2 and shown["update"] is None
    assert shown["workloads"][0]["reason"] == "its node has not changed it yet"
    why = alone.ground.run("contract", "why", alone.name).stdout
    assert "data: its node has not said" in why

    alone.holds(2 * GIB)
    assert "not changed" not in alone.shown()["workloads"][0]["reason"]
    assert alone.update("--disk", "2GiB", "--yes").exit_code == 2


def test_a_node_that_cannot_is_heard(alone: Notes) -> None:
    """Waiting ends with the node's own reason, and with time if it says nothing."""
    told = alone.update("--disk", "3GiB", "--yes", "--timeout", "1")
    assert told.exit_code == 9 and "TFG-4513" in told.stderr
    alone.say("failed", reasons=("its disk has 1 GiB free",))
    assert "its disk has 1 GiB free" in alone.ground.run("contract", "why", alone.name).stdout
    assert alone.shown()["phase"] == "degraded"
    told = alone.update("--disk", "2GiB", "--yes", "--no-wait")
    assert told.exit_code == 0, told.stderr
    alone.holds(2 * GIB)
    assert alone.shown()["phase"] == "running"


def test_it_waits_for_those_who_approved(agreed: Notes) -> None:
    """The version before goes on; `show` and `why` say who is asked, `sign` signs the update."""
    told = agreed.update("--disk", "2GiB", "--yes")
    assert told.exit_code == 10, told.stderr
    assert "version 2 waits for approvals, 0/2" in told.stdout
    assert "was 1 GiB on ssd" in told.stderr
    assert f"tfgrid contract sign {agreed.name} --as budget" in told.stderr
    shown = agreed.shown()
    assert shown["version"] == 1 and shown["update"]["approved"] == 0
    assert shown["update"]["asked"] == ["budget", "security", "legal"]
    text = " ".join(agreed.ground.run("contract", "show", agreed.name).stdout.split())
    assert "version 2 waits for approvals: 0/2" in text and "data: 2 GiB on ssd" in text
    why = agreed.ground.run("contract", "why", agreed.name).stdout
    assert "budget has not signed the update that waits" in why
    assert f"tfgrid contract sign {agreed.name} --as legal" in why

    seen = agreed.ground.run("contract", "sign", agreed.name, "--as", "budget", "--dry-run")
    assert shown["update"]["subject"] in seen.stdout and "2 GiB on ssd" in seen.stdout
    first = agreed.ground.run("contract", "sign", agreed.name, "--as", "budget", "--yes", "--json")
    answer = json.loads(first.stdout)
    assert (answer["action"], answer["approved"], answer["needed"]) == ("update", 1, 2)
    assert agreed.shown()["version"] == 1
    second = agreed.ground.run("contract", "sign", agreed.name, "--as", "legal", "--yes")
    assert f"approves updating {agreed.name}: 2/2" in second.stdout
    assert agreed.shown()["version"] == 2


def test_a_proof_tells_who_signed_the_update(agreed: Notes, tmp_path: Path) -> None:
    """Checked offline, the proof has the version in force and its signers."""
    agreed.update("--disk", "2GiB", "--yes")
    for role in ("budget", "legal"):
        agreed.ground.run("contract", "sign", agreed.name, "--as", role, "--yes")
    file = str(tmp_path / "proof")
    assert agreed.ground.run("contract", "proof", agreed.name, "-o", file).exit_code == 0
    told = json.loads(agreed.ground.run("contract", "verify", file, "--json").stdout)
    assert "version 2" in told["summary"]
    assert "legal (legal) update approve" in told["signers"]
    assert any("2 GiB on ssd" in part for part in told["parts"])


def test_it_may_be_rejected(agreed: Notes) -> None:
    """With too many against it the update is gone, and what is in force stays."""
    assert agreed.update("--keys", "2000", "--yes").exit_code == 10
    for role in ("security", "legal"):
        told = agreed.ground.run("contract", "reject", agreed.name, "--as", role, "--yes")
        assert told.exit_code == 0, told.stderr
        assert f"rejects updating {agreed.name}" in told.stdout
    shown = agreed.shown()
    assert (shown["version"], shown["update"], shown["phase"]) == (1, None, "running")
