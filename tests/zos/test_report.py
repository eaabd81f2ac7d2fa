"""What leaves a node beside receipts: its heartbeat always, log tails only where agreed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.zos import scenes
from tests.zos.test_status import _config, ring
from tfgrid.agents.zos import report
from tfgrid.agents.zos.core0 import loop, plan
from tfgrid.core import errors, host
from tfgrid.core.clock import ManualClock
from tfgrid.core.units import Capacity
from tfgrid.ledger import bcdb, contract


class _Letters:
    """Takes letters in place of the mailbox."""

    def __init__(self) -> None:
        self.boxes: list[str] = []

    async def post(self, box: str, _payload: str, **_given: int) -> None:
        """See `bcdb.Author.post`."""
        self.boxes.append(box)


def _boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: bool | None,
    condition: str = "running",
) -> list[str]:  # fmt: skip
    """The boxes that a node posts to when one container runs; logs None: no such contract."""
    proposal = scenes.proposal()
    agreement = msgspec.structs.replace(
        proposal.agreement, access=contract.Access(logs=bool(logs))
    )  # fmt: skip
    proposal = msgspec.structs.replace(proposal, agreement=agreement)

    def read(*_given: object) -> Any:
        if logs is None:
            raise errors.NotFound("TFG-2401", "no such contract")
        return SimpleNamespace(proposal=proposal)

    monkeypatch.setattr(contract, "read", read)
    monkeypatch.setattr(bcdb, "identity_state", lambda *_given: object())
    letters = _Letters()
    follower: Any = SimpleNamespace(view=None, head=None, halted=None, order_time_ms=lambda: 5)
    author: Any = letters
    machine = host.MemoryHost(Capacity())
    reporter = report.Reporter(
        _config(), tmp_path, ring, author, follower, machine, ManualClock(),
        plan.Offer(capacity=Capacity(), roles=("compute",), gateway_domains=(), trust_class="x"),
    )  # fmt: skip
    notes = tuple(
        plan.Note(scenes.key(kind, name), scenes.CONTRACT, condition)  # type: ignore[arg-type]
        for kind, name in (("network", "net"), ("container", "web"), ("route", "page"))
    )
    told = loop.Report(
        plan=plan.Plan(notes=notes), phase="following", reason="", delays={}, receipts_waiting=0
    )
    asyncio.run(reporter(told))
    return letters.boxes


def test_log_tails_leave_where_agreed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `access.logs` a container's tail is posted, and nothing of networks and routes."""
    boxes = _boxes(tmp_path, monkeypatch, logs=True)

    assert boxes[0].startswith("status:")
    assert boxes[1:] == [f"logs:{scenes.CONTRACT}/web"]


@pytest.mark.parametrize("logs", [False, None])
def test_log_tails_are_withheld(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: bool | None
) -> None:
    """Without `access.logs`, or without a readable agreement, only the heartbeat leaves a node."""
    boxes = _boxes(tmp_path, monkeypatch, logs=logs)

    assert [box.partition(":")[0] for box in boxes] == ["status"]


def test_what_waits_has_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that was not made yet has no log tail to post."""
    boxes = _boxes(tmp_path, monkeypatch, logs=True, condition="waiting")

    assert len(boxes) == 1


def test_logs_stay_on_the_node_by_default() -> None:
    """An agreement that says nothing of logs does not let them out."""
    assert contract.Access().logs is False
