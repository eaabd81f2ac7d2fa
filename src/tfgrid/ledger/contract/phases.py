"""The phases of a contract as one table, and what nodes may conclude from a phase.

`proposed` waits for the deploy quorum. `approved` waits for every node to accept, until the admission deadline; no
workload may start before. `accepted` starts; `running` has every workload up, `degraded` has one that failed
or ended. `expired` and `cancelling` wait for each node to say that it has removed all; `ended` is then. `rejected`,
`lapsed` (quorum not reached in time) and `refused` (a node refused, or the deadline passed) never ran.

The drawing in `docs/formats/contract-states.md` is made from this table; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from tfgrid.core import errors
from tfgrid.core.ids import NodeId

if TYPE_CHECKING:
    from tfgrid.ledger.contract.model import Receipt
    from tfgrid.ledger.contract.state import ContractState

__all__ = [
    "PHASES_FINAL",
    "TRANSITIONS",
    "Event",
    "Phase",
    "may_start",
    "must_stop",
    "receipt_allowed",
    "step",
    "validity_over",
]

Phase: TypeAlias = Literal[
    "proposed",
    "approved",
    "accepted",
    "running",
    "degraded",
    "cancelling",
    "expired",
    "ended",
    "rejected",
    "lapsed",
    "refused",
]

Event: TypeAlias = Literal[
    "quorum",
    "rejection",
    "window closed",
    "all accepted",
    "node refused",
    "deadline passed",
    "all running",
    "workload failed",
    "cancelled",
    "validity over",
    "all removed",
]

TRANSITIONS: Final[Mapping[tuple[Phase, Event], Phase]] = {
    ("proposed", "quorum"): "approved",
    ("proposed", "rejection"): "rejected",
    ("proposed", "window closed"): "lapsed",
    ("proposed", "cancelled"): "cancelling",
    ("approved", "all accepted"): "accepted",
    ("approved", "node refused"): "refused",
    ("approved", "deadline passed"): "refused",
    ("approved", "cancelled"): "cancelling",
    ("accepted", "all running"): "running",
    ("accepted", "workload failed"): "degraded",
    ("accepted", "cancelled"): "cancelling",
    ("accepted", "validity over"): "expired",
    ("running", "workload failed"): "degraded",
    ("running", "cancelled"): "cancelling",
    ("running", "validity over"): "expired",
    ("degraded", "all running"): "running",
    ("degraded", "cancelled"): "cancelling",
    ("degraded", "validity over"): "expired",
    ("cancelling", "all removed"): "ended",
    ("expired", "all removed"): "ended",
}
"""Every legal step; whatever is not here is refused or changes nothing."""

PHASES_FINAL: Final = frozenset(
    phase for phase in get_args(Phase) if not any(start == phase for start, _ in TRANSITIONS)
)
"""Phases that nothing leaves: ended, rejected, lapsed, refused."""

_STARTED: Final = frozenset({"accepted", "running", "degraded"})
_STOPPED: Final = frozenset({"cancelling", "ended", "rejected", "lapsed", "refused"})


def step(phase: Phase, event: Event) -> Phase:
    """The phase after an event.

    Raises:
        errors.Conflict: TFG-2402, the event does not happen in this phase.

    """
    after = TRANSITIONS.get((phase, event))
    if after is None:
        raise errors.Conflict(
            "TFG-2402", f"{event!r} does not happen to a contract that is {phase}"
        )
    return after


def may_start(state: ContractState, node: NodeId) -> bool:
    """Whether this node may start workloads of the contract: all nodes accepted, and it has a part."""
    return state.phase in _STARTED and node in state.nodes


def validity_over(valid_until_ms: int, *, clock_ms: int, order_time_ms: int) -> bool:
    """Whether validity is over by both the node's clock and the order time that it knows.

    `order_time_ms` is the last verified head's plus the monotonic time since. Either alone may be wrong: a jump
    of the clock, or a ledger that stands still, ends nothing.
    """
    return clock_ms > valid_until_ms and order_time_ms > valid_until_ms


def must_stop(state: ContractState, *, clock_ms: int, order_time_ms: int) -> bool:
    """Whether a node must end and remove all that it made for the contract."""
    if state.phase in _STOPPED:
        return True
    return state.phase not in {"proposed", "approved"} and validity_over(
        state.proposal.agreement.valid_until, clock_ms=clock_ms, order_time_ms=order_time_ms
    )


def receipt_allowed(state: ContractState, node: NodeId, receipt: Receipt) -> bool:
    """Whether the ledger would take this receipt from this node now; nodes ask before they submit."""
    raise errors.Failed("TFG-2402", "")
