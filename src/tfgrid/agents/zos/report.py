"""Telling how the node fares: status file, heartbeat, and log tails where agreed.

All of it is latest-only and off the log. The file is replaced when something changed, and once a
minute; the heartbeat is posted each time; a log tail is posted when it grew. What cannot be posted
now is simply posted next time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from tfgrid.agents.zos.config import Config
from tfgrid.agents.zos.core0.loop import Report
from tfgrid.agents.zos.core0.plan import Note, Offer
from tfgrid.agents.zos.status import ItemStatus, Status, heartbeat_text, seal_status, status_name
from tfgrid.core import canonical, errors, host, identity, limits
from tfgrid.core.clock import Clock
from tfgrid.core.ids import ContractId, NodeId
from tfgrid.ledger import bcdb
from tfgrid.ledger import contract as contracts

__all__ = ["Reporter"]

file_seconds_max: Final = 60
letters_seconds: Final = limits.heartbeat_silent_seconds
log_ttl_seconds: Final = 24 * 3600


class Reporter:
    """Writes the status file and posts letters for one node."""

    def __init__(
        self,
        config: Config,
        directory: Path,
        keyring: identity.Keyring,
        author: bcdb.Author,
        follower: bcdb.Follower,
        machine: host.Host,
        clock: Clock,
        offer: Offer,
    ) -> None:
        self._config = config
        self._directory = directory
        self._keyring = keyring
        self._author = author
        self._follower = follower
        self._machine = machine
        self._clock = clock
        self._offer = offer
        self._written: Status | None = None
        self._tails: dict[host.ItemKey, str] = {}

    async def __call__(self, report: Report) -> None:
        """Tell how the node fares now.

        Raises:
            errors.GridError: a letter could not be posted; the file is written.

        """
        status = self._status(report)
        self.write(status)
        if bcdb.identity_state(self._follower.view, status.node) is None:
            return  # The ledger takes letters of those it knows.
        box = f"status:{status.node}"
        at = self._follower.order_time_ms()
        text = heartbeat_text(status)
        await self._author.post(box, text, ttl_seconds=letters_seconds, at_ms=at)
        await self._post_tails(report)

    def write(self, status: Status) -> None:
        """Replace the status file, unless it says the same and is fresh."""
        before = self._written
        if before is not None:
            same = msgspec.structs.replace(status, at=before.at, head_time=before.head_time)
            if same == before and status.at - before.at < file_seconds_max * 1000:
                return
        beside = self._directory / f".{status_name}.new"
        try:
            beside.write_bytes(seal_status(status, self._keyring))
            beside.replace(self._directory / status_name)
        except OSError:
            return  # A full disk must not stop a node; the heartbeat still says how it is.
        self._written = status

    def final(self, report: Report) -> None:
        """Say that the process ends and the workloads stay."""
        status = msgspec.structs.replace(
            self._status(report), phase="stopping", reason="the node process was told to end"
        )
        self.write(status)

    def _status(self, report: Report) -> Status:
        head, halted = self._follower.head, self._follower.halted
        evidence = (halted.believed, halted.shown) if halted is not None else ()
        return Status(
            ledger=self._config.trust.ledger,
            node=NodeId(self._keyring.identity),
            name=self._config.name,
            at=max(0, self._clock.now_ms()),
            phase=report.phase,
            reason=report.reason[: limits.text_chars_max],
            head_size=head.size if head else 0,
            head_time=head.order_time if head else 0,
            total=self._offer.capacity,
            reserved=report.plan.reserved,
            lacks=tuple(f"{k}: {v}" for k, v in sorted(self._offer.lacks.items())),
            items=tuple(_item(note, report) for note in report.plan.notes),
            receipts_waiting=report.receipts_waiting,
            evidence=tuple(text[: limits.checkpoint_bytes_max] for text in evidence if text),
        )

    async def _post_tails(self, report: Report) -> None:
        current = set()
        for key in self._with_logs(report):
            current.add(key)
            tail = await self._machine.log_tail(key, limits.log_tail_bytes_max)
            digest = canonical.digest(tail)
            if not tail or self._tails.get(key) == digest:
                continue
            await self._author.post(
                f"logs:{key.name}", tail.decode("utf-8", "replace"),
                ttl_seconds=log_ttl_seconds, at_ms=self._follower.order_time_ms(),
            )  # fmt: skip
            self._tails[key] = digest
        self._tails = {k: d for k, d in self._tails.items() if k in current}

    def _with_logs(self, report: Report) -> Iterator[host.ItemKey]:
        """The containers whose agreement lets their log leave the node."""
        allowed: dict[ContractId, bool] = {}
        for note in report.plan.notes:
            if note.key.kind != "container" or note.condition == "waiting":
                continue
            if note.contract not in allowed:
                allowed[note.contract] = self._may_log(note.contract)
            if allowed[note.contract]:
                yield note.key

    def _may_log(self, contract: ContractId) -> bool:
        head = self._follower.head
        try:
            state = contracts.read(self._follower.view, contract, head.order_time if head else 0)
        except errors.NotFound:
            return False
        return state.proposal.agreement.access.logs


def _item(note: Note, report: Report) -> ItemStatus:
    delay = report.delays.get(f"item {note.key.kind} {note.key.name}")
    return ItemStatus(
        kind=note.key.kind,
        name=note.key.name.partition("/")[2],
        contract=note.contract,
        condition=note.condition,
        reason=(delay.reason if delay else note.reason)[: limits.text_chars_max],
        attempts=delay.failures if delay else 0,
    )
