"""The signed local status file: how a node says why, without a shell.

The file is one canonical `SignedStatus`: the status, the node's inception event and its signature
over the status (object type `status`, action `node.status`). It is replaced whole whenever
something changed. The same status travels as heartbeat, in a signed letter of the mailbox
`status:<node id>`. Format: `docs/formats/status.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from tfgrid.core import canonical, errors, identity, ids, keys, limits
from tfgrid.core.ids import LedgerId
from tfgrid.core.schema import Count, Moment, Name, Text, Value
from tfgrid.core.units import Capacity

__all__ = [
    "ItemStatus",
    "Phase",
    "SignedStatus",
    "Status",
    "heartbeat_status",
    "heartbeat_text",
    "open_status",
    "read_status",
    "seal_status",
    "status_name",
]

status_name = "status.json"

Phase: TypeAlias = Literal["starting", "following", "stale", "halted", "stopping"]
"""starting: reads to the head; following: obeys the ledger; stale: no fresh head, keeps what runs
and accepts nothing new; halted: the ledger rewrote its history, obeys no more and keeps what runs;
stopping: leaves workloads running."""


class ItemStatus(Value, frozen=True):
    """One thing that runs or should: its condition, and why it is not as it should be."""

    kind: Literal["image", "container", "network", "route", "zdb"]
    name: Text
    contract: ids.Contract
    condition: Literal["running", "waiting", "prepared", "ended", "broken"]
    reason: Text = ""
    attempts: Count = 0


class Status(Value, frozen=True):
    """How a node fares, and why.

    `at` is the node's wall clock; `head_size` and `head_time` the newest ledger head that was
    verified; `evidence` the two checkpoints that contradict each other when the node has halted.
    """

    ledger: ids.Ledger
    node: ids.Node
    name: Name
    at: Moment
    phase: Phase
    reason: Text
    head_size: Count
    head_time: Moment
    total: Capacity
    reserved: Capacity
    lacks: tuple[Text, ...]
    items: tuple[ItemStatus, ...]
    receipts_waiting: Count
    evidence: tuple[Text, ...] = ()


class SignedStatus(Value, frozen=True):
    """A status with its node's inception and signature; the node's id suffices to check it."""

    status: Status
    inception: identity.Inception
    signatures: identity.Signatures


def _digest(status: Status) -> bytes:
    return keys.signed_digest(
        object_type="status", action="node.status", ledger=status.ledger,
        data=canonical.encode(status),
    )  # fmt: skip


def seal_status(status: Status, keyring: identity.Keyring) -> bytes:
    """The signed bytes of a status."""
    signed = SignedStatus(
        status=status, inception=keyring.inception, signatures=keyring.sign(_digest(status))
    )
    return canonical.encode(signed)


def open_status(data: bytes, *, ledger: LedgerId | None = None) -> Status:
    """The status in signed bytes, checked against the identity it names.

    Raises:
        errors.BadInput: TFG-1101 to TFG-1104.
        errors.VerificationFailed: TFG-4003, another identity's or ledger's; TFG-1413.

    """
    signed = canonical.parse(data, SignedStatus)
    state = identity.incept(signed.inception)
    if state.identity != signed.status.node or ledger not in {None, signed.status.ledger}:
        raise errors.VerificationFailed(
            "TFG-4003", "the status is another node's or another ledger's", where=signed.status.name
        )
    identity.check_signatures(state, _digest(signed.status), signed.signatures)
    return signed.status


def heartbeat_text(status: Status) -> str:
    """A status as the payload of a heartbeat; without what would not fit a letter."""
    data = canonical.encode(status)
    if len(data) > limits.mailbox_message_bytes_max:
        short = msgspec.structs.replace(
            status, items=(), evidence=(), reason=f"{status.reason[:1000]} (too many items to list)"
        )
        data = canonical.encode(short)
    return data.decode()


def heartbeat_status(payload: str) -> Status:
    """The status in the payload of a verified heartbeat.

    Raises:
        errors.BadInput: TFG-1101 to TFG-1104.

    """
    return canonical.parse(payload.encode(), Status)


def read_status(node_directory: Path, *, ledger: LedgerId | None = None) -> Status | None:
    """The status of a node, verified; None before its first start.

    Raises:
        errors.GridError: as `open_status`.

    """
    try:
        data = (node_directory / status_name).read_bytes()
    except FileNotFoundError:
        return None
    return open_status(data, ledger=ledger)
