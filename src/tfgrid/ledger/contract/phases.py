"""The phases of a contract as one table, and what nodes may conclude from a phase.

`proposed` waits for the deploy quorum. `approved` waits for every node to accept, until the
admission deadline; no workload may start before. `accepted` starts; `running` has every workload
up, `degraded` has one that failed or ended. `expired` and `cancelling` wait for each node to say
that it has removed all; `ended` is then. `rejected`, `lapsed` (quorum not reached in time) and
`refused` (a node refused, or the deadline passed) never ran.

The drawing in `docs/formats/contract-states.md` is made from this table; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

from tfgrid.core import errors

__all__ = [
    "PHASES_FINAL",
    "PHASES_HOLDING",
    "PHASES_STARTED",
    "PHASES_STOPPED",
    "TRANSITIONS",
    "Event",
    "Phase",
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

PHASES_FINAL: Final[frozenset[Phase]] = frozenset(
    phase for phase in get_args(Phase) if not any(start == phase for start, _ in TRANSITIONS)
)
"""Phases that nothing leaves: ended, rejected, lapsed, refused."""

PHASES_STARTED: Final[frozenset[Phase]] = frozenset({"accepted", "running", "degraded"})
"""Phases in which nodes run workloads."""

PHASES_HOLDING: Final[frozenset[Phase]] = PHASES_STARTED | {"approved", "cancelling"}
"""Phases in which host names are held, as long as the contract is valid."""

PHASES_STOPPED: Final[frozenset[Phase]] = PHASES_FINAL | {"cancelling"}
"""Phases in which a node removes all it made, whatever its clock says."""


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


def validity_over(valid_until_ms: int, *, clock_ms: int, order_time_ms: int) -> bool:
    """Whether validity is over by both the node's clock and the order time that it knows.

    `order_time_ms` is the last verified head's plus the monotonic time since. Either alone may be
    wrong: a jump of the clock, or a ledger that stands still, ends nothing.
    """
    return clock_ms > valid_until_ms and order_time_ms > valid_until_ms
