"""What is off in what was ordered: records and heartbeats -> report, as a pure function.

A node that is silent is not a node that is gone: it may run on, cut off from the ledger. So the
report says `silent`, and since when, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from tfgrid.agents.threebot.model import Finding, Report, findings_max
from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import IdentityId
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["examine", "read_report", "report_box"]

_ALIVE: Final = frozenset({"accepted", "running"})


def report_box(bot: IdentityId) -> str:
    """The mailbox box in which a bot reports."""
    return f"report:{bot}"


def examine(
    *, nodes: Sequence[farm.NodeInfo], contracts: Sequence[contract.ContractState],
    heard_ms: Mapping[str, int], now_ms: int, head: int, unreachable: str = "",
) -> Report:  # fmt: skip
    """Judge what is known.

    Args:
        nodes: every registered node.
        contracts: every contract.
        heard_ms: when each node's latest heartbeat was, in ledger time.
        now_ms: ledger time.
        head: how many entries the ledger has.
        unreachable: why the ledger does not answer, if it does not.

    """
    silent = {str(n.node) for n in nodes if n.admitted and _silent(heard_ms.get(n.node, 0), now_ms)}
    names = {str(n.node): n.name for n in nodes}
    findings = [
        *_ledger_findings(unreachable),
        *_node_findings(nodes, silent, heard_ms, now_ms),
        *(finding for state in contracts for finding in _contract_findings(state, silent, names)),
    ]
    findings.sort(key=lambda finding: finding.level != "problem")
    running = sum(state.phase == "running" for state in contracts)
    alive = sum(state.phase not in contract.PHASES_FINAL for state in contracts)
    return Report(
        at=now_ms, head=head, nodes=len(nodes), nodes_silent=len(silent),
        contracts=alive, contracts_running=running,
        summary=_summary(len(nodes), len(silent), alive, running, len(findings)),
        findings=tuple(findings[:findings_max]),
    )  # fmt: skip


def _silent(heard_ms: int, now_ms: int) -> bool:
    return now_ms - heard_ms > limits.heartbeat_silent_seconds * 1000


def _summary(nodes: int, silent: int, contracts: int, running: int, findings: int) -> str:
    heard = f"{nodes - silent} of {nodes} nodes heard"
    works = f"{running} of {contracts} contracts running"
    return f"{heard}, {works}" + (f", {findings} findings" if findings else ", nothing is off")


def _ledger_findings(unreachable: str) -> Iterator[Finding]:
    if unreachable:
        text = f"does not answer ({unreachable}); what runs goes on, new contracts have to wait"
        yield Finding(level="problem", kind="ledger", subject="ledger", text=text)


def _node_findings(
    nodes: Sequence[farm.NodeInfo], silent: set[str], heard_ms: Mapping[str, int], now_ms: int
) -> Iterator[Finding]:
    for node in nodes:
        if node.node in silent:
            heard = heard_ms.get(node.node, 0)
            since = f"for {(now_ms - heard) // 1000} s" if heard else "since it registered"
            yield Finding(level="problem", kind="node", subject=node.name, text=f"silent {since}")
        if not node.admitted:
            text = "registered, but its farmer has not admitted it"
            yield Finding(level="note", kind="node", subject=node.name, text=text)


def _contract_findings(
    state: contract.ContractState, silent: set[str], names: Mapping[str, str]
) -> Iterator[Finding]:
    name = state.proposal.agreement.name

    def finding(level: Literal["note", "problem"], text: str) -> Finding:
        return Finding(level=level, kind="contract", subject=name, text=text)

    if state.phase == "proposed":
        yield finding("note", f"waits for approvals: {state.deploy.approved}/{state.deploy.needed}")
    if state.phase == "degraded":
        yield finding("problem", f"degraded: {state.reason}")
    if state.phase in {"accepted", "running", "degraded"}:
        for node in state.nodes:
            if node in silent:
                where = names.get(node, node[:10])
                yield finding("problem", f"has a part on {where}, which is silent")


async def read_report(client: bcdb.Client, bot: IdentityId) -> Report | None:
    """The newest report of a bot, verified; None if there is none that still counts.

    Raises:
        errors.Unreachable: the ledger does not answer.

    """
    for message in await client.messages(report_box(bot), author=bot):
        try:
            return canonical.parse(message.payload.encode(), Report)
        except errors.BadInput:
            continue
    return None
