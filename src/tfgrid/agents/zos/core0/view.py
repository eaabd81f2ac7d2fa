"""From the ledger's verified view to the cases of a plan. Reads, never changes.

Two times are used, and never mixed: what a contract's phase is follows from the order time of the
verified head alone, so that a node whose link is cut cannot conclude that a deadline passed unseen;
that validity is over needs both the node's own clock and the head's order time plus the monotonic
time since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tfgrid.agents.zos.core0.outbox import Outbox
from tfgrid.agents.zos.core0.plan import Case, Stage
from tfgrid.core.clock import Clock
from tfgrid.core.ids import NodeId
from tfgrid.ledger import bcdb
from tfgrid.ledger import contract as contracts

__all__ = ["LedgerClock", "Times", "cases"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Own clock, the verified head's order time, and that plus the monotonic time since."""

    clock_ms: int
    head_ms: int
    order_time_ms: int


class LedgerClock:
    """The ledger's time as a clock: a node whose own clock is wrong still signs in time."""

    def __init__(self, follower: bcdb.Follower, clock: Clock) -> None:
        self._follower = follower
        self._clock = clock

    def now_ms(self) -> int:
        """The ledger's time as far as it is known, else the machine's."""
        return self._follower.order_time_ms() or self._clock.now_ms()

    def monotonic_ms(self) -> int:
        """See `Clock.monotonic_ms`."""
        return self._clock.monotonic_ms()

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await self._clock.sleep(seconds)


def cases(view: bcdb.View, node: NodeId, times: Times, outbox: Outbox) -> tuple[Case, ...]:
    """Every contract that gives this node a part, in the order of the log."""
    return tuple(
        _case(state, node, times, outbox.latest(state.contract))
        for state in contracts.contracts_of_node(view, node, times.head_ms)
    )


def _case(
    state: contracts.ContractState,
    node: NodeId,
    times: Times,
    waiting: Mapping[str, contracts.Receipt],
) -> Case:
    written = {f.receipt.workload: f.receipt for f in state.receipts if f.node == node}
    said = {**written, **waiting}
    mine = frozenset(a.workload for a in state.proposal.placement.assignments if a.node == node)
    ended = contracts.Receipt(contract=state.contract, placement=0, workload="", state="ended")
    whole = said.get("")
    over = whole is not None and whole.state == "ended"
    return Case(
        contract=state.contract,
        proposal=state.proposal,
        stage=_stage(state, node, times, whole),
        why=state.reason or state.phase,
        owes_end=not over and contracts.receipt_allowed(state, node, ended),
        said=said,
        unsettled=(mine & frozenset(state.unsettled)) - waiting.keys(),
        endpoints={
            f.node: f.receipt.endpoints
            for f in state.receipts
            if not f.receipt.workload and f.receipt.state == "accepted"
        },
    )


def _stage(
    state: contracts.ContractState, node: NodeId, times: Times, whole: contracts.Receipt | None
) -> Stage:
    if contracts.must_stop(state, clock_ms=times.clock_ms, order_time_ms=times.order_time_ms):
        return "remove"
    answer = whole.state if whole else ""
    if state.phase == "approved":
        stages: dict[str, Stage] = {"": "admit", "accepted": "hold"}
        return stages.get(answer, "none")
    if answer != "accepted":
        return "none"
    if contracts.may_start(state, node):
        return "run"
    return "keep" if state.phase == "expired" else "none"
