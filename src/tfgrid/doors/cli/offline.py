"""Checking a proof file with nothing but the file."""

from __future__ import annotations

from pathlib import Path

from tfgrid.core import errors, ids, limits
from tfgrid.doors.cli import answers, render
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["text", "verify"]


def verify(file: Path, ledger: str) -> answers.Verified:
    """What a proof file proves.

    Raises:
        errors.NotFound: TFG-5006, there is no such file.
        errors.BadInput: TFG-5014, it is larger than a proof can be.
        errors.VerificationFailed: a signature, hash or quorum does not hold; TFG-5018, it is no
            whole proof; TFG-5017, it proves no contract.

    """
    if not file.is_file():
        raise errors.NotFound(
            "TFG-5006", f"there is no file {file}", where=str(file.absolute()),
            hint="tfgrid contract proof NAME -o FILE writes one",
        )  # fmt: skip
    if file.stat().st_size > limits.response_bytes_max:
        raise errors.BadInput("TFG-5014", "larger than a proof can be", where=str(file))
    registry = bcdb.registry(farm.kinds(), contract.kinds())
    wanted = ids.LedgerId(ledger) if ledger else None
    try:
        proven = bcdb.verify_bundle(file.read_bytes(), ledger=wanted, registry=registry)
    except errors.BadInput as fault:
        raise errors.VerificationFailed(
            "TFG-5018", f"not a whole proof: {fault.what}", where=str(file),
            hint="ask for the file again: tfgrid contract proof NAME -o FILE",
        ) from fault  # fmt: skip
    found = contract.contracts(proven.view, proven.checkpoint.order_time)
    if not found:
        raise errors.VerificationFailed("TFG-5017", "this proves no contract", where=str(file))
    verdict = contract.verdict(proven.view, found[-1].contract, proven.checkpoint.order_time)
    return answers.Verified(
        file=str(file), ledger=proven.entries[0].digest, entries=len(proven.entries),
        head=proven.checkpoint.size, at=render.moment(verdict.order_time),
        contract=verdict.contract, name=verdict.name, owner=verdict.owner_name,
        phase=verdict.phase, quorum=verdict.quorum, summary=verdict.summary,
        signers=[f"{s.name} ({s.role}) {s.action} {s.decision}" for s in verdict.signers],
        parts=[
            f"{p.workload} on {p.node_name}: {p.state}"
            + (f", {p.asks}" if p.asks else "")
            + (f", image sha256:{p.image}" if p.image else "")
            for p in verdict.parts
        ],
    )  # fmt: skip


def text(answer: answers.Verified) -> str:
    """The verdict for people."""
    return "\n".join(
        [
            f"ok  {answer.file} proves contract {answer.name}",
            render.field_list(
                [
                    ("ledger", answer.ledger),
                    ("height", f"{answer.head} at {answer.at}, {answer.entries} records here"),
                    ("contract", answer.contract),
                    ("owner", answer.owner),
                    ("phase", answer.phase),
                    ("quorum", answer.quorum),
                    ("signed by", ", ".join(answer.signers)),
                ]
            ),
            *(f"  {part}" for part in answer.parts),
        ]
    )
