"""What a workload asks for, as people are told it in plans, contracts and proofs."""

from __future__ import annotations

from tfgrid.core.units import bytes_text, time_text
from tfgrid.ledger.contract.model import Workload, ZdbNamespace

__all__ = ["asks_text"]


def asks_text(workload: Workload) -> str:
    """What no other column of a table says of a workload: of a zdb namespace its limits."""
    if not isinstance(workload, ZdbNamespace):
        return ""
    chosen_by = "clients" if workload.mode == "user" else "the server"
    return (
        f"{bytes_text(workload.disk_bytes)} on {workload.disk_class}, "
        f"at most {workload.keys_max:,} keys chosen by {chosen_by}, {_kept(workload.history)}"
    )


def _kept(history: str) -> str:
    word, _, value = history.partition(":")
    if word == "last":
        return f"the last {value} versions of each kept"
    if word == "since":
        return f"versions since {time_text(int(value) * 1000)} kept"
    return "all versions kept"
