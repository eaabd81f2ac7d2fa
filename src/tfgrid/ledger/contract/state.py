"""Reading contracts from a view: how they stand at a moment of order time."""

from __future__ import annotations

from tfgrid.core import errors, ids
from tfgrid.core.ids import ContractId, Digest, NodeId
from tfgrid.core.schema import Count, Moment, Text, Value
from tfgrid.ledger import bcdb
from tfgrid.ledger.contract.model import Proposal, Receipt
from tfgrid.ledger.contract.phases import Phase
from tfgrid.ledger.contract.policy import Tally
from tfgrid.ledger.contract.recipe import Recipe

__all__ = [
    "ContractState",
    "ReceiptFact",
    "contracts",
    "contracts_of_node",
    "read",
    "read_recipe",
    "recipes",
]


class ReceiptFact(Value, frozen=True):
    """The latest receipt of a node for its part or for one workload, and where it stands in the log."""

    node: ids.Node
    receipt: Receipt
    at: Moment
    position: Count


class ContractState(Value, frozen=True):
    """A contract as of a moment of order time. `reason` says why it ended as it did, for people."""

    contract: ids.Contract
    position: Count
    proposal: Proposal
    subject: ids.Digested
    phase: Phase
    since: Moment
    reason: Text
    proposed_at: Moment
    approved_at: Moment
    accepted_at: Moment
    admission_deadline: Moment
    deploy: Tally
    delete: Tally
    receipts: tuple[ReceiptFact, ...]

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes of the placement: of workloads and of networks, each once, by id."""
        placement = self.proposal.placement
        used = {a.node for a in placement.assignments} | {p.node for p in placement.networks}
        return tuple(sorted(used))

    @property
    def delete_subject(self) -> Digest:
        """What a delete approval names: the agreement's hash."""
        return self.proposal.placement.agreement

    def receipt(self, node: NodeId, workload: str = "") -> ReceiptFact | None:
        """The latest receipt of a node for its part (no workload) or for one workload."""
        for fact in self.receipts:
            if fact.node == node and fact.receipt.workload == workload:
                return fact
        return None


def read(view: bcdb.View, contract: ContractId, now_ms: int) -> ContractState:
    """How a contract stands at a moment of order time.

    Raises:
        errors.NotFound: TFG-2401.

    """
    raise errors.NotFound("TFG-2401", "no such contract", where=contract)


def contracts(view: bcdb.View, now_ms: int) -> tuple[ContractState, ...]:
    """All contracts, in the order in which they were proposed."""
    return ()


def contracts_of_node(view: bcdb.View, node: NodeId, now_ms: int) -> tuple[ContractState, ...]:
    """The contracts that give this node a part, in the order in which they were proposed."""
    return ()


def read_recipe(view: bcdb.View, name: str, version: str = "") -> Recipe:
    """A published recipe; without a version the one published last.

    Raises:
        errors.NotFound: TFG-2403.

    """
    raise errors.NotFound("TFG-2403", "no such recipe", where=f"{name}@{version}")


def recipes(view: bcdb.View) -> tuple[Recipe, ...]:
    """All published recipes, by name, then in the order of publication."""
    return ()
