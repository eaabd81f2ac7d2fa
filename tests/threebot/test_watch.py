"""The bot's report: a pure function of records and heartbeats."""

from __future__ import annotations

from tfgrid.agents import threebot
from tfgrid.core import canonical, limits
from tfgrid.core.ids import FarmId, IdentityId, NodeId
from tfgrid.core.units import Capacity
from tfgrid.ledger import farm

NOW = 1_750_000_000_000
SILENT_MS = limits.heartbeat_silent_seconds * 1000


def _node(name: str, *, admitted: bool = True) -> farm.NodeInfo:
    return farm.NodeInfo(
        node=NodeId(IdentityId(canonical.digest(name.encode()))), name=name,
        farm=FarmId(IdentityId("f" * 64)), farm_name="f1", country="BE", prices=farm.Prices(),
        payments=("none",), trust="hosted", roles=("compute",), endpoint="10.0.0.1", domains=(),
        registration=canonical.digest(b"registration"), admitted=admitted, total=Capacity(),
        reserve=Capacity(), reserved=Capacity(),
    )  # fmt: skip


def _report(*nodes: farm.NodeInfo, heard: dict[str, int], unreachable: str = "") -> threebot.Report:
    return threebot.examine(
        nodes=nodes, contracts=(), heard_ms=heard, now_ms=NOW, head=7, unreachable=unreachable
    )


def test_nothing_is_off_when_all_are_heard() -> None:
    """A heartbeat that is just young enough counts."""
    one = _node("n1")
    report = _report(one, heard={one.node: NOW - SILENT_MS})
    assert report.findings == ()
    assert report.nodes_silent == 0
    assert "nothing is off" in report.summary


def test_silence_is_said_with_its_length() -> None:
    """One millisecond too old is silent; a node never heard is silent since it registered."""
    one, two = _node("n1"), _node("n2")
    report = _report(one, two, heard={one.node: NOW - SILENT_MS - 1})
    assert report.nodes_silent == 2
    texts = {finding.subject: finding.text for finding in report.findings}
    assert texts == {
        "n1": f"silent for {limits.heartbeat_silent_seconds} s",
        "n2": "silent since it registered",
    }


def test_a_node_that_is_not_admitted_is_a_note() -> None:
    """It is not counted as silent, since nobody waits for it yet."""
    report = _report(_node("n1", admitted=False), heard={})
    assert [(f.level, f.subject) for f in report.findings] == [("note", "n1")]
    assert report.nodes_silent == 0


def test_problems_come_first_and_are_bounded() -> None:
    """A hundred silent nodes are at most so many findings, and the ledger's absence is one."""
    nodes = [_node(f"n{i}") for i in range(100)]
    report = _report(_node("late", admitted=False), *nodes, heard={}, unreachable="no answer")
    assert len(report.findings) == 64
    assert {finding.level for finding in report.findings} == {"problem"}
    assert any(finding.kind == "ledger" for finding in report.findings)
    assert canonical.parse(canonical.encode(report), threebot.Report) == report
