"""The people of the simulated grid: farmer, consumer, expert and three stakeholders."""

from __future__ import annotations

from tests.sim.nodes import keyring_of
from tests.sim.wires import Wire
from tfgrid.core import canonical, errors
from tfgrid.core.clock import Clock
from tfgrid.core.ids import ContractId, Digest, FarmId, IdentityId
from tfgrid.core.rng import SeededRng
from tfgrid.core.schema import Value
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["Farmer", "Orderer", "image", "recipe"]

roles = ("budget", "security", "legal")


def image(name: str = "web") -> contract.Image:
    """An image that exists by its name only."""
    signer = keyring_of("expert").identity
    return contract.Image(name=name, digest=canonical.digest(name.encode()), signer=signer)


def recipe() -> contract.Recipe:
    """Web containers spread over nodes, their network, and a route."""
    return contract.parse_recipe_yaml(_RECIPE, author=keyring_of("expert").identity)


class _Person:
    def __init__(
        self, name: str, wire: Wire, trust: bcdb.Trust, registry: bcdb.Registry, clock: Clock
    ) -> None:
        self.keyring = keyring_of(name)
        self._clock = clock
        self.author = bcdb.Author(self.keyring, bcdb.Client(wire, trust), clock, registry=registry)

    async def submit(self, kind: str, body: Value) -> None:
        """Write an entry, again and again while the ledger does not answer."""
        while True:
            try:
                await self.author.submit(kind, body)
            except errors.Unreachable:
                await self._clock.sleep(1)
            else:
                return


class Farmer(_Person):
    """Owns every node and admits whatever registers."""

    async def open(self) -> None:
        """Make the farm known, with an offer that costs nothing."""
        await self.author.register()
        await self.submit("farm.create", farm.FarmCreate(name="farm"))
        offer = farm.Offer(country="BE", prices=farm.Prices(), payments=("none",))
        await self.submit("farm.offer", offer)

    @property
    def farm(self) -> FarmId:
        """The farm's id."""
        return FarmId(self.keyring.identity)

    async def admit_all(self, view: bcdb.View, now_ms: int) -> int:
        """Admit every node that is registered and not admitted; returns how many there were."""
        waiting = [n for n in farm.nodes(view, now_ms) if not n.admitted]
        for node in waiting:
            body = farm.NodeAdmit(node=node.node, registration=node.registration)
            await self.submit("node.admit", body)
        return len(waiting)


class Orderer:
    """A consumer's bot with its stakeholders: plans, proposes, signs, cancels."""

    def __init__(
        self, wire: Wire, trust: bcdb.Trust, registry: bcdb.Registry, clock: Clock, rng: SeededRng
    ) -> None:
        self._people = {
            name: _Person(name, wire, trust, registry, clock)
            for name in ("consumer", "expert", *roles)
        }
        self._trust = trust
        self._clock = clock
        self._rng = rng
        self._recipe = recipe()

    async def open(self) -> None:
        """Make everybody known and publish the recipe."""
        for person in self._people.values():
            await person.author.register()
        await self._people["expert"].submit("recipe.publish", self._recipe)

    async def order(
        self, name: str, inventory: farm.Inventory, *, replicas: int, valid_seconds: int
    ) -> contract.Proposal | None:
        """Plan and propose; None where nothing fits or the plan has gone stale."""
        order = contract.Order(
            ledger=self._trust.ledger, owner=self._people["consumer"].keyring.identity, name=name,
            salt=canonical.text_from(self._rng.token(16)),
            parameters={"replicas": replicas, "host": f"{name}.grid.test"},
            approvers={r: (self._identity(r),) for r in roles}, valid_seconds=valid_seconds,
        )  # fmt: skip
        try:
            plan = contract.plan(order, self._recipe, {"web": image()}, inventory)
            await self._people["consumer"].submit("contract.propose", plan.proposal)
        except (errors.NoFit, errors.Conflict):
            return None
        return plan.proposal

    async def approve(
        self,
        proposal: contract.Proposal,
        action: contract.Action,
        role: str,
        *,
        reject: bool = False,
    ) -> bool:
        """One stakeholder signs; False if the ledger takes it no more."""
        agreement = proposal.agreement
        subject = (
            contract.proposal_digest(proposal)
            if action == "deploy"
            else Digest(contract.agreement_digest(agreement))
        )
        approval = contract.Approval(
            contract=ContractId(contract.contract_id(agreement)), subject=subject, action=action,
            role=role, decision="reject" if reject else "approve",
            reason="too dear" if reject else "",
        )  # fmt: skip
        try:
            await self._people[role].submit("contract.approve", approval)
        except (errors.Conflict, errors.NotAllowed):
            return False
        return True

    def _identity(self, role: str) -> IdentityId:
        return self._people[role].keyring.identity


_RECIPE = """\
name: web
version: "1.0"
description: Web containers behind a name.
parameters:
  replicas: {type: integer, default: 2, minimum: 1, maximum: 8}
  host: {type: string}
policy:
  deploy:
    roles: {budget: 1, security: 1, legal: 1}
    weight: 2
  delete:
    roles: {budget: 1, security: 1, legal: 1}
    weight: 2
workloads:
  net:
    type: network
  web:
    type: container
    replicas: ${replicas}
    image: web
    network: net
    cpu: 0.5
    memory: 64MiB
    disk: 16MiB
    placement: {spread: node, group: web}
  page:
    type: route
    host: ${host}
    network: net
    containers: [web]
    port: 80
"""
