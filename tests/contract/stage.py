"""A grid of records for tests: two farms, four nodes, a recipe, an owner and three stakeholders.

The kinds' own `check` and `apply` run on a view in memory, without signatures and without a server,
so that a test says in one line who writes what. A refusal is held to have changed nothing.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from tfgrid.core import canonical, errors, identity, limits
from tfgrid.core.identity import Keyring
from tfgrid.core.ids import ContractId, Digest, FarmId, IdentityId, LedgerId, NodeId
from tfgrid.core.rng import SeededRng
from tfgrid.core.schema import Value
from tfgrid.core.units import Capacity
from tfgrid.ledger import bcdb, contract, farm

T = TypeVar("T", bound=Value)

LEDGER = LedgerId("a" * 64)
SIGNED = identity.Signature(key=0, signature="A" * 86)
GIB = 1024**3
START_MS = 1_750_000_000_000
PRICES = farm.Prices(cru=10_000_000, mru=4_000_000, sru=100_000)
RECIPE_TEXT = (
    Path(__file__).parents[2].joinpath("examples/guestbook/recipe.yaml").read_text(encoding="utf-8")
)
STAKEHOLDERS = ("budget", "security", "legal")


@cache
def keyring(name: str) -> Keyring:
    """The same identity for the same name in every test."""
    return Keyring.new(name, SeededRng(name))


def who(name: str) -> IdentityId:
    """The id of a named identity."""
    return keyring(name).identity


def node_id(name: str) -> NodeId:
    """The id of a named node."""
    return NodeId(who(name))


def farm_id(name: str) -> FarmId:
    """The id of a named farm."""
    return FarmId(who(name))


def image(name: str) -> contract.Image:
    """An image by name, signed by the expert."""
    digest = canonical.digest(name.encode())
    return contract.Image(name=name, digest=digest, signer=who("expert"))


IMAGES = {name: image(name) for name in ("guestbook-web", "redis")}


class Stage:
    """A view, its time, and everybody who writes to it."""

    def __init__(self) -> None:
        self.view = bcdb.MemoryView()
        self.kinds = bcdb.registry(farm.kinds(), contract.kinds())
        self.now_ms = START_MS
        self.position = 0

    def entry(self, author: str, kind: str, body: Value) -> bcdb.Entry:
        """The next entry, as a ledger would place it."""
        data = canonical.encode(body)
        header = bcdb.Header(
            ledger=LEDGER, author=who(author), sequence=self.position, kind=kind,
            body_hash=canonical.digest(data), body_size=len(data),
            tags=tuple(sorted(self.kinds[kind].tags(body))), parent="",
            not_after=self.now_ms + 1000,
        )  # fmt: skip
        return bcdb.Entry(
            header=header, signatures=(SIGNED,), order_time=self.now_ms, position=self.position
        )

    def write(self, author: str, kind: str, body: Value) -> bcdb.Entry:
        """Write a record; its body goes through its canonical form, as on the wire."""
        rules = self.kinds[kind]
        entry = self.entry(author, kind, body)
        content: Any = canonical.parse(canonical.encode(body), rules.body_type)
        rules.check(self.view, entry, content)
        rules.apply(self.view, entry, content)
        self.position += 1
        return entry

    def refused(self, code: str, author: str, kind: str, body: Value) -> errors.GridError:
        """Hold that a record is refused with this code and that nothing was stored."""
        before = self.view.dump()
        with pytest.raises(errors.GridError) as caught:
            self.write(author, kind, body)
        assert self.view.dump() == before
        assert caught.value.code == code, str(caught.value)
        return caught.value

    def join(self, *names: str) -> None:
        """Make identities known."""
        for name in names:
            entry = self.entry(name, "identity.create", keyring(name).inception)
            self.kinds["identity.create"].apply(self.view, entry, keyring(name).inception)
            self.position += 1

    def add_farm(self, name: str, country: str = "BE", **offer: Any) -> None:
        """A farm with an offer."""
        self.join(name)
        self.write(name, "farm.create", farm.FarmCreate(name=name))
        fields: dict[str, Any] = {
            "country": country,
            "prices": PRICES,
            "payments": ("none",),
        } | offer
        self.write(name, "farm.offer", farm.Offer(**fields))

    def add_node(self, name: str, home: str, **wanted: Any) -> None:
        """An admitted node; `memory_bytes` is without the reserve."""
        self.join(name)
        roles = wanted.get("roles", ("compute",))
        body = farm.NodeRegister(
            farm=farm_id(home), endpoint=wanted.get("endpoint", f"10.9.9.{self.position + 10}"),
            trust=wanted.get("trust", "hosted"), roles=roles,
            domains=("grid.localhost",) if "gateway" in roles else (),
        )  # fmt: skip
        self.write(name, "node.register", body)
        digest = farm.registration_digest(body)
        if wanted.get("admitted", True):
            admit = farm.NodeAdmit(node=node_id(name), registration=digest)
            self.write(home, "node.admit", admit)
        reserve = Capacity(memory_bytes=limits.node_memory_reserve_bytes_min)
        total = Capacity(
            cpu_millis=wanted.get("cpu_millis", 4000),
            memory_bytes=wanted.get("memory_bytes", 4 * GIB) + reserve.memory_bytes,
            ssd_bytes=wanted.get("ssd_bytes", 40 * GIB),
        )
        self.write(name, "node.inventory", farm.NodeInventory(total=total, reserve=reserve))

    def later(self, seconds: float) -> None:
        """Let order time pass."""
        self.now_ms += round(seconds * 1000)

    def inventory(self) -> farm.Inventory:
        """The inventory as of now."""
        return farm.inventory(self.view, self.now_ms, self.position)

    def order(self, **changed: Any) -> contract.Order:
        """An order of the guestbook."""
        fields: dict[str, Any] = {
            "ledger": LEDGER, "owner": who("alice"), "name": "guestbook", "salt": "A" * 22,
            "approvers": {role: (who(role),) for role in STAKEHOLDERS},
        }  # fmt: skip
        return contract.Order(**(fields | changed))

    def plan(self, **changed: Any) -> contract.Plan:
        """A plan of the guestbook."""
        recipe = contract.read_recipe(self.view, "guestbook")
        return contract.plan(self.order(**changed), recipe, IMAGES, self.inventory())

    def propose(self, **changed: Any) -> Running:
        """A proposed guestbook."""
        plan = self.plan(**changed)
        self.write("alice", "contract.propose", plan.proposal)
        return Running(self, plan.proposal)


class Running:
    """One contract on a stage, and the records that move it."""

    def __init__(self, stage: Stage, proposal: contract.Proposal) -> None:
        self.stage = stage
        self.proposal = proposal
        self.id: ContractId = contract.contract_id(proposal.agreement)

    @property
    def phase(self) -> str:
        """Its phase now."""
        return self.state.phase

    @property
    def state(self) -> contract.ContractState:
        """How it stands now."""
        return contract.read(self.stage.view, self.id, self.stage.now_ms)

    @property
    def names(self) -> list[str]:
        """The names of its nodes."""
        nodes = {node.node: node.name for node in self.stage.inventory().nodes}
        return [nodes[node] for node in self.state.nodes]

    def approval(self, role: str, action: str = "deploy", **changed: Any) -> contract.Approval:
        """What a stakeholder would sign."""
        subject: Digest = contract.proposal_digest(self.proposal)
        if action == "delete":
            subject = self.proposal.placement.agreement
        fields: dict[str, Any] = {
            "contract": self.id, "subject": subject, "action": action, "role": role,
            "decision": "approve",
        }  # fmt: skip
        return contract.Approval(**(fields | changed))

    def approve(self, *roles: str, **changed: Any) -> Running:
        """Approvals by the stakeholders of these roles."""
        for role in roles:
            self.stage.write(role, "contract.approve", self.approval(role, **changed))
        return self

    def receipt(
        self, node: str, state: Any, workload: str = "", **changed: Any
    ) -> contract.Receipt:
        """What a node would report, complete with endpoints and image."""
        fields: dict[str, Any] = {
            "contract": self.id, "placement": 0, "workload": workload, "state": state,
        }  # fmt: skip
        if state == "accepted":
            info = farm.node(self.stage.view, node_id(node), self.stage.now_ms)
            fields["endpoints"] = tuple(
                contract.Endpoint(
                    network=place.network,
                    public_key=canonical.text_from(
                        canonical.sha256(f"{self.id}{node}{place.network}".encode())
                    ),
                    endpoint=f"{info.endpoint}:51820",
                )
                for place in self.proposal.placement.networks
                if place.node == info.node
            )
        if state in {"refused", "failed"}:
            fields["reasons"] = ("no room",)
        agreed = {w.name: w for w in self.proposal.agreement.workloads}.get(workload)
        if isinstance(agreed, contract.Container) and state == "running":
            fields["image"] = agreed.image.digest
        return contract.Receipt(**(fields | changed))

    def report(self, node: str, state: Any, workload: str = "", **changed: Any) -> None:
        """A receipt by a node."""
        self.stage.write(node, "contract.receipt", self.receipt(node, state, workload, **changed))

    def accept(self) -> Running:
        """Every node accepts."""
        for name in self.names:
            self.report(name, "accepted")
        return self

    def run(self) -> Running:
        """Every workload runs."""
        nodes = {node.node: node.name for node in self.stage.inventory().nodes}
        for assignment in self.proposal.placement.assignments:
            self.report(nodes[assignment.node], "running", assignment.workload)
        return self


def guestbook_stage() -> Stage:
    """Two farms with two nodes each, the last a gateway too, and a published recipe."""
    stage = Stage()
    stage.join("founder", "expert", "alice", "mallory", *STAKEHOLDERS)
    stage.add_farm("f1", "BE")
    stage.add_farm("f2", "DE")
    stage.add_node("n1", "f1")
    stage.add_node("n2", "f1")
    stage.add_node("n3", "f2")
    stage.add_node("n4", "f2", roles=("compute", "gateway"))
    recipe = contract.parse_recipe_yaml(RECIPE_TEXT, author=who("expert"))
    stage.write("expert", "recipe.publish", recipe)
    return stage


def changed(value: T, **fields: Any) -> T:
    """A value with some fields changed."""
    return msgspec.structs.replace(value, **fields)
