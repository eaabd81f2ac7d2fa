"""The ledger's machine: it loses power between any two acts of the ledger, and comes back.

What SQLite has committed and what the store of signed checkpoints took is on disk; everything else
is gone. The ledger's seams blow: with a `Fuse` armed, the n-th time that the ledger asks the clock
or writes a checkpoint is its last act, be it before the transaction, within it, between commit and
signature, or between signature and answer.
"""

from __future__ import annotations

import asyncio

from tests.sim.nodes import keyring_of
from tests.sim.virtual import NodeClock
from tfgrid.core import errors
from tfgrid.core.store import MemoryStore
from tfgrid.core.transport import Request, Response
from tfgrid.ledger import bcdb
from tfgrid.ledger.bcdb.disk import Database

__all__ = ["Books", "PowerCut"]


class PowerCut(BaseException):
    """Nothing of the ledger's process runs after this; no handler of its own may see it."""


class Fuse:
    """Blows at the n-th touch after it was armed."""

    def __init__(self) -> None:
        self.left = 0

    def touch(self) -> None:
        """One act of the ledger."""
        if self.left > 0:
            self.left -= 1
            if self.left == 0:
                raise PowerCut


class _Clock(NodeClock):
    fuse: Fuse

    def now_ms(self) -> int:
        self.fuse.touch()
        return super().now_ms()


class _Store(MemoryStore):
    fuse: Fuse

    def write(self, name: str, data: bytes) -> None:
        self.fuse.touch()
        super().write(name, data)
        self.fuse.touch()


class Books:
    """One ledger server: `handle` while it is up, `die`, `restart`."""

    def __init__(self, registry: bcdb.Registry, clock: NodeClock) -> None:
        self.fuse = Fuse()
        self.deaths = 0
        self.up = True
        self._registry = registry
        self._clock = _Clock(clock.loop)
        self._signed = _Store()
        self._clock.fuse = self._signed.fuse = self.fuse
        self.ledger = bcdb.SoloLedger.create(
            None, founder=keyring_of("founder"), checkpoint_keyrings=[keyring_of("notary")],
            registry=registry, clock=self._clock, signed=self._signed,
        )  # fmt: skip
        self._service = bcdb.Service(self.ledger)
        self.backup = self._copy()

    async def handle(self, request: Request) -> Response:
        """Answer, unless the power goes; then nobody ever hears of it."""
        generation = self.deaths
        try:
            response = await self._service.handle(request)
        except PowerCut:
            self.die()
        if self.deaths != generation or not self.up:
            await asyncio.Event().wait()
        return response

    def keep_backup(self) -> None:
        """Copy the ledger's files, as an operator does once in a while."""
        self.backup = self._copy()

    def die(self) -> None:
        """Lose power now."""
        self.deaths += 1
        self.up = False
        self.fuse.left = 0

    def restart(self) -> None:
        """Open what is on the disk."""
        self.ledger = self._open(self.ledger._database)
        self._service = bcdb.Service(self.ledger)
        self.up = True

    def refuses_backup(self) -> bool:
        """Whether a copy of the files that is older than what was signed does not open."""
        old = Database(None, create=True)
        old.connection.deserialize(self.backup[0])
        try:
            signed = self.ledger._last_signed()
            behind = signed is not None and old.reader().size() < signed.size
            self._open(old)
        except errors.VerificationFailed as fault:
            return behind and fault.code == "TFG-2206"
        else:
            return not behind
        finally:
            old.close()

    def restore_backup(self) -> None:
        """Put back old copies of the files and of the signed checkpoint: what must never be."""
        files, self._signed._data["checkpoint"] = self.backup
        self.ledger._database.connection.deserialize(files)

    def _copy(self) -> tuple[bytes, bytes]:
        checkpoint = self._signed.read("checkpoint")
        assert checkpoint is not None
        return self.ledger._database.connection.serialize(), checkpoint

    def _open(self, database: Database) -> bcdb.SoloLedger:
        return bcdb.SoloLedger(
            database, self.ledger.trust, checkpoint_keyrings=[keyring_of("notary")],
            registry=self._registry, clock=self._clock, signed=self._signed,
            queue_entries_max=16,
        )  # fmt: skip
