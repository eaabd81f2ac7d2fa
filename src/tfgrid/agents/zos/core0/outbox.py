"""Receipts that wait to be written: durable, in order, each written once.

    put --> store (outbox/NNNNNNNNNNNN) --send--> ledger --its copy here shows it--> forgotten
                                          |--no answer: kept, tried again later
                                          `--refused or too late: forgotten, and logged

A receipt is in the outbox before anybody may act on it, so a crash between deciding and telling
loses nothing. What the node says (`latest`) is what the ledger holds, overlaid by what waits here.
When an answer was lost the receipt may be in the ledger already: before each sending, what the
ledger holds is asked, so nothing is said twice. What was written waits on until the node's copy of
the ledger shows it, or else the node, which goes by that copy, would say it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, Protocol, TypeAlias

from tfgrid.core import canonical, errors
from tfgrid.core.ids import ContractId
from tfgrid.core.log import Log
from tfgrid.core.schema import Value
from tfgrid.core.store import Store
from tfgrid.ledger import bcdb
from tfgrid.ledger import contract as contracts

__all__ = ["Outbox", "Submits", "Verdict"]

Verdict: TypeAlias = Literal["send", "written", "void"]
"""send: the ledger lacks it; written: the ledger holds it; void: the ledger takes it no more."""

refusals_max: Final = 5
_PREFIX: Final = "outbox/"


class Submits(Protocol):
    """Whoever writes entries for this node: `bcdb.Author`."""

    async def submit(self, kind: str, body: Value) -> bcdb.Entry:
        """Write one entry."""
        ...


class Outbox:
    """The receipts of one node that the ledger has not confirmed yet."""

    def __init__(self, store: Store, log: Log) -> None:
        self._store = store
        self._log = log
        self._waiting: dict[str, contracts.Receipt] = {}
        self._refusals: dict[str, int] = {}
        self._sent = set[str]()
        for name in store.names(_PREFIX):
            data = store.read(name)
            assert data is not None
            self._waiting[name] = canonical.parse(data, contracts.Receipt)
        self._next = max((int(n.removeprefix(_PREFIX)) for n in self._waiting), default=0) + 1

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[contracts.Receipt]:
        return iter(self._waiting.values())

    def put(self, receipt: contracts.Receipt) -> None:
        """Keep a receipt until it is written; what it supersedes is forgotten unsaid.

        Only the newest receipt about a workload waits, so what waits is bounded by what runs.

        Raises:
            errors.Failed: TFG-1201, the disk refused; nothing was kept and nothing was said.

        """
        name = f"{_PREFIX}{self._next:012d}"
        older = [
            n
            for n, r in self._waiting.items()
            if r.workload and (r.contract, r.workload) == (receipt.contract, receipt.workload)
        ]
        self._store.write(name, canonical.encode(receipt))
        self._next += 1
        self._waiting[name] = receipt
        for known in older:
            self._forget(known)

    def latest(self, contract: ContractId) -> dict[str, contracts.Receipt]:
        """The newest waiting receipt of each workload of a contract."""
        return {r.workload: r for r in self._waiting.values() if r.contract == contract}

    async def send(self, author: Submits, verdict: Callable[[contracts.Receipt], Verdict]) -> int:
        """Write what waits, oldest first; returns how many the ledger took.

        Args:
            author: writes the entries.
            verdict: what the ledger, as far as it was followed, says of a receipt.

        Raises:
            errors.GridError: such as Unreachable; what waits is kept and tried again.

        """
        count = 0
        for name, receipt in list(self._waiting.items()):
            if name not in self._waiting:
                continue
            word = verdict(receipt)
            if word == "send":
                if name not in self._sent and await self._submit(author, name, receipt):
                    count += 1
                continue
            if word == "void" and name not in self._sent:
                self._log.warning(
                    "receipt came too late", contract=receipt.contract,
                    workload=receipt.workload, state=receipt.state,
                )  # fmt: skip
            self._forget(name)
        return count

    async def _submit(self, author: Submits, name: str, receipt: contracts.Receipt) -> bool:
        """Write one receipt; False if it was refused, and is tried again later a few times."""
        try:
            await author.submit("contract.receipt", receipt)
        except errors.GridError as fault:
            if fault.retry:
                raise
            self._refusals[name] = self._refusals.get(name, 0) + 1
            self._log.warning(
                "receipt refused", contract=receipt.contract, workload=receipt.workload,
                state=receipt.state, code=fault.code, reason=fault.what,
            )  # fmt: skip
            if self._refusals[name] >= refusals_max:
                self._forget(name)
            return False
        self._sent.add(name)
        return True

    def _forget(self, name: str) -> None:
        self._store.remove(name)
        self._waiting.pop(name, None)
        self._refusals.pop(name, None)
        self._sent.discard(name)
