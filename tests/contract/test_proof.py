"""The whole line over a real ledger: signed, placed, followed, proven, and verified without it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.contract.stage import IMAGES, PRICES, RECIPE_TEXT, START_MS, keyring, node_id, who
from tfgrid.core import canonical, errors, limits
from tfgrid.core.clock import ManualClock
from tfgrid.core.ids import FarmId, LedgerId
from tfgrid.core.schema import Value
from tfgrid.core.store import MemoryStore
from tfgrid.core.transport import MemoryTransport
from tfgrid.core.units import Capacity
from tfgrid.ledger import bcdb, contract, farm

REGISTRY = bcdb.registry(farm.kinds(), contract.kinds())
GIB = 1024**3


@dataclass
class Grid:
    """A ledger in memory, and an author for each name."""

    ledger: bcdb.SoloLedger
    clock: ManualClock
    client: bcdb.Client
    follower: bcdb.Follower
    authors: dict[str, bcdb.Author] = field(default_factory=dict)

    @classmethod
    def new(cls) -> Grid:
        """An empty ledger."""
        clock = ManualClock(now_ms=START_MS)
        ledger = bcdb.SoloLedger.create(
            None, founder=keyring("founder"), checkpoint_keyrings=[keyring("notary")],
            registry=REGISTRY, clock=clock, signed=MemoryStore(),
        )  # fmt: skip
        transport = MemoryTransport(bcdb.Service(ledger).handle)
        client = bcdb.Client(transport, ledger.trust)
        follower = bcdb.Follower(
            transport, ledger.trust, registry=REGISTRY, store=MemoryStore(), clock=clock
        )
        return cls(ledger, clock, client, follower)

    async def write(self, name: str, kind: str, body: Value) -> bcdb.Entry:
        """A signed record by name."""
        if name not in self.authors:
            author = bcdb.Author(keyring(name), self.client, self.clock, registry=REGISTRY)
            await author.register()
            self.authors[name] = author
        self.clock.advance(1)
        return await self.authors[name].submit(kind, body)

    @property
    def head(self) -> bcdb.Checkpoint:
        """The follower's verified head."""
        assert self.follower.head is not None
        return self.follower.head

    async def view(self) -> bcdb.View:
        """The follower's verified view."""
        await self.follower.sync()
        return self.follower.view


async def _founded() -> Grid:
    grid = Grid.new()
    for home, names in (("f1", ("n1", "n2")), ("f2", ("n3", "n4"))):
        await grid.write(home, "farm.create", farm.FarmCreate(name=home))
        offer = farm.Offer(country="BE", prices=PRICES, payments=("none",))
        await grid.write(home, "farm.offer", offer)
        for name in names:
            gateway = name == "n4"
            body = farm.NodeRegister(
                farm=FarmId(who(home)), endpoint=f"10.9.9.{name[1]}", trust="hosted",
                roles=("compute", "gateway") if gateway else ("compute",),
                domains=("grid.localhost",) if gateway else (),
            )  # fmt: skip
            await grid.write(name, "node.register", body)
            admit = farm.NodeAdmit(node=node_id(name), registration=farm.registration_digest(body))
            await grid.write(home, "node.admit", admit)
            total = Capacity(cpu_millis=4000, memory_bytes=4 * GIB, ssd_bytes=40 * GIB)
            reserve = Capacity(memory_bytes=limits.node_memory_reserve_bytes_min)
            await grid.write(
                name, "node.inventory", farm.NodeInventory(total=total, reserve=reserve)
            )
    recipe = contract.parse_recipe_yaml(RECIPE_TEXT, author=who("expert"))
    await grid.write("expert", "recipe.publish", recipe)
    return grid


async def _proposed(grid: Grid) -> contract.Proposal:
    for name in ("alice", "budget", "security", "legal"):
        if name not in grid.authors:
            author = bcdb.Author(keyring(name), grid.client, grid.clock, registry=REGISTRY)
            await author.register()
            grid.authors[name] = author
    view = await grid.view()
    order = contract.Order(
        ledger=LedgerId(grid.ledger.trust.ledger), owner=who("alice"), name="guestbook",
        salt="A" * 22, approvers={r: (who(r),) for r in ("budget", "security", "legal")},
    )  # fmt: skip
    recipe = contract.read_recipe(view, "guestbook")
    inventory = farm.inventory(view, grid.clock.now_ms(), grid.head.size)
    plan = contract.plan(order, recipe, IMAGES, inventory)
    contract.check_plan(plan, view, grid.clock.now_ms())
    await grid.write("alice", "contract.propose", plan.proposal)
    return plan.proposal


async def _approve(grid: Grid, proposal: contract.Proposal, *roles: str) -> None:
    for role in roles:
        body = contract.Approval(
            contract=contract.contract_id(proposal.agreement),
            subject=contract.proposal_digest(proposal), action="deploy", role=role,
            decision="approve",
        )  # fmt: skip
        await grid.write(role, "contract.approve", body)


async def _accepted_and_run(grid: Grid, proposal: contract.Proposal) -> None:
    this = contract.contract_id(proposal.agreement)
    names = {node_id(name): name for name in ("n1", "n2", "n3", "n4")}
    for place in proposal.placement.networks:
        name = names[place.node]
        key = canonical.text_from(canonical.sha256(name.encode()))
        endpoint = contract.Endpoint(
            network=place.network, public_key=key, endpoint=f"10.9.9.{name[1]}:51820"
        )
        receipt = contract.Receipt(
            contract=this, placement=0, workload="", state="accepted", endpoints=(endpoint,)
        )
        await grid.write(name, "contract.receipt", receipt)
    workloads = {w.name: w for w in proposal.agreement.workloads}
    for assignment in proposal.placement.assignments:
        workload: Any = workloads[assignment.workload]
        image = workload.image.digest if isinstance(workload, contract.Container) else ""
        receipt = contract.Receipt(
            contract=this, placement=0, workload=workload.name, state="running", image=image
        )
        await grid.write(names[assignment.node], "contract.receipt", receipt)


def test_a_contract_is_proven_without_the_ledger() -> None:
    """Proposal, quorum, receipts and all they lean on verify from one file."""

    async def story() -> None:
        grid = await _founded()
        proposal = await _proposed(grid)
        await _approve(grid, proposal, "budget", "legal")
        await _accepted_and_run(grid, proposal)
        this = contract.contract_id(proposal.agreement)
        view = await grid.view()
        now_ms = grid.head.order_time
        told = contract.verdict(view, this, now_ms)
        assert told.phase == "running"
        data = await grid.client.bundle(contract.positions(view, this))
        proven = bcdb.verify_bundle(data, ledger=grid.ledger.trust.ledger, registry=REGISTRY)
        assert contract.verdict(proven.view, this, now_ms) == told
        assert [(s.name, s.role) for s in told.signers] == [
            ("budget", "budget"),
            ("legal", "legal"),
        ]
        assert {p.workload: p.state for p in told.parts} == dict.fromkeys(
            ("redis", "web-1", "web-2", "page"), "running"
        )
        assert "owner alice, quorum 2 of 2 needed (budget, legal), running" in told.summary
        middle = len(data) // 2
        damaged = data[:middle] + (b"A" if data[middle] != ord("A") else b"B") + data[middle + 1 :]
        with pytest.raises(errors.GridError):
            bcdb.verify_bundle(damaged, ledger=grid.ledger.trust.ledger, registry=REGISTRY)

    asyncio.run(story())


def test_a_proof_holds_after_the_world_moved_on() -> None:
    """New offers, inventories and registrations after the proposal do not spoil it."""

    async def story() -> None:
        grid = await _founded()
        moved = farm.NodeRegister(
            farm=FarmId(who("f1")), endpoint="10.9.9.77", trust="hosted", roles=("compute",)
        )
        await grid.write("n1", "node.register", moved)
        proposal = await _proposed(grid)
        dearer = farm.Offer(country="BE", prices=farm.Prices(cru=1), payments=("tft",))
        await grid.write("f1", "farm.offer", dearer)
        other = farm.NodeRegister(
            farm=FarmId(who("f2")), endpoint="10.9.9.3", trust="booted", roles=("compute",)
        )
        await grid.write("n3", "node.register", other)
        await _approve(grid, proposal, "security")
        this = contract.contract_id(proposal.agreement)
        view = await grid.view()
        now_ms = grid.head.order_time
        data = await grid.client.bundle(contract.positions(view, this))
        proven = bcdb.verify_bundle(data, ledger=grid.ledger.trust.ledger, registry=REGISTRY)
        told = contract.verdict(proven.view, this, now_ms)
        assert told == contract.verdict(view, this, now_ms)
        assert told.phase == "proposed"
        assert [signer.name for signer in told.signers] == ["security"]

    asyncio.run(story())


def test_a_replayed_approval_is_refused() -> None:
    """The ledger answers the same signed bytes with the same place, and counts them once."""

    async def story() -> None:
        grid = await _founded()
        proposal = await _proposed(grid)
        await _approve(grid, proposal, "budget")
        this = contract.contract_id(proposal.agreement)
        size = grid.ledger.head[1].size
        ((entry, body),) = await grid.client.find(kind="contract.approve")
        signed = bcdb.SignedEntry(header=entry.header, signatures=entry.signatures)
        again = await grid.client.submit(signed, body)
        assert again.position == entry.position
        view = await grid.view()
        state = contract.read(view, this, grid.clock.now_ms())
        assert (state.deploy.approved, grid.ledger.head[1].size) == (1, size)
        with pytest.raises(errors.GridError) as caught:
            await _approve(grid, proposal, "budget")
        assert caught.value.code == "TFG-2412"

    asyncio.run(story())


def test_an_approval_with_a_bad_signature_is_refused() -> None:
    """Somebody who signs as budget without its key leaves no trace."""

    async def story() -> None:
        grid = await _founded()
        proposal = await _proposed(grid)
        body = canonical.encode(
            contract.Approval(
                contract=contract.contract_id(proposal.agreement),
                subject=contract.proposal_digest(proposal), action="deploy", role="budget",
                decision="approve",
            )
        )  # fmt: skip
        header = bcdb.Header(
            ledger=LedgerId(grid.ledger.trust.ledger), author=who("budget"), sequence=1,
            kind="contract.approve", body_hash=canonical.digest(body), body_size=len(body),
            tags=(f"contract:{contract.contract_id(proposal.agreement)}",), parent="",
            not_after=grid.clock.now_ms() + 60_000,
        )  # fmt: skip
        size = grid.ledger.head[1].size
        with pytest.raises(errors.VerificationFailed):
            await grid.client.submit(bcdb.sign_header(header, keyring("mallory")), body)
        assert grid.ledger.head[1].size == size

    asyncio.run(story())
