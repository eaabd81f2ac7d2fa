"""The bot's own process: follow, listen, examine, report. It acts on nothing.

It has its own identity and writes one thing: its report, as the newest message of its box. When the
ledger does not answer it goes on with what it last verified, and its report file in its own
directory says so.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Final

from tfgrid.agents.threebot.model import Report, Settings, read_settings
from tfgrid.agents.threebot.watch import examine, report_box
from tfgrid.core import canonical, errors, identity, limits
from tfgrid.core.clock import Clock, SystemClock
from tfgrid.core.log import Log
from tfgrid.core.store import DirectoryStore, Store
from tfgrid.core.transport import Transport
from tfgrid.jumpscale import clients
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["Daemon", "attend", "main", "open_daemon", "run"]

_REPORT_TTL_SECONDS: Final = limits.heartbeat_silent_seconds
_STATUS_PREFIX: Final = "status:"
report_file: Final = "report.json"


class Daemon:
    """One bot over one ledger; `turn` does all of its work once."""

    def __init__(
        self, settings: Settings, keyring: identity.Keyring, *, transport: Transport,
        store: Store, clock: Clock, registry: bcdb.Registry,
    ) -> None:  # fmt: skip
        self._store = store
        self._client = bcdb.Client(transport, settings.trust)
        self._author = bcdb.Author(keyring, self._client, clock, registry=registry)
        self._follower = bcdb.Follower(
            transport, settings.trust, registry=registry, store=store, clock=clock
        )
        self._heard: dict[str, int] = {}

    async def turn(self, *, wait_seconds: int = 0) -> Report:
        """Bring the view up to date, listen, examine, and report; returns the report."""
        unreachable = ""
        try:
            await self._follower.sync(wait_seconds=wait_seconds)
            await self._listen()
        except errors.Unreachable as fault:
            unreachable = fault.what
        report = self._examine(unreachable)
        self._store.write(report_file, canonical.encode(report))
        if not unreachable:
            await self._post(report)
        return report

    async def _listen(self) -> None:
        view = self._follower.view
        for message in await self._client.messages(_STATUS_PREFIX, view=view):
            if message.box == f"{_STATUS_PREFIX}{message.author}":
                self._heard[message.author] = max(self._heard.get(message.author, 0), message.at)

    def _examine(self, unreachable: str) -> Report:
        view, now = self._follower.view, self._follower.order_time_ms()
        return examine(
            nodes=farm.nodes(view, now), contracts=contract.contracts(view, now),
            heard_ms=self._heard, now_ms=now, unreachable=unreachable,
            head=self._follower.head.size if self._follower.head else 0,
        )  # fmt: skip

    async def _post(self, report: Report) -> None:
        me = self._author.keyring.identity
        if bcdb.identity_state(self._follower.view, me) is None:
            await self._author.register()
        await self._author.post(
            report_box(me), canonical.encode(report).decode(),
            at_ms=report.at, ttl_seconds=_REPORT_TTL_SECONDS,
        )  # fmt: skip


def open_daemon(directory: Path) -> Daemon:
    """The bot of a directory.

    Raises:
        errors.NotFound: TFG-4501, TFG-4503.
        errors.VerificationFailed: TFG-1402, the unlock key is another one.

    """
    settings = read_settings(directory)
    store = DirectoryStore(directory)
    try:
        unlock_key = Path(settings.unlock_key_path).read_bytes()
    except OSError as fault:
        raise errors.NotFound(
            "TFG-4503", "the bot's unlock key is not there", where=settings.unlock_key_path,
            hint="tfgrid up",
        ) from fault  # fmt: skip
    return Daemon(
        settings, identity.open_keyring(settings.name, store, unlock_key=unlock_key),
        transport=clients.HttpTransport(settings.ledger_url), store=store, clock=SystemClock(),
        registry=bcdb.registry(farm.kinds(), contract.kinds()),
    )  # fmt: skip


async def run(daemon: Daemon, log: Log) -> None:
    """Watch until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await attend(daemon, log, stop)


async def attend(daemon: Daemon, log: Log, stop: asyncio.Event) -> None:
    """Watch until told to stop; a turn that fails is logged, and the next one is taken."""
    summary = ""
    while not stop.is_set():
        try:
            report = await daemon.turn(wait_seconds=1)
        except errors.GridError as fault:
            log.warning("turn failed", code=fault.code, what=fault.what)
        else:
            if report.summary != summary:
                log.info("report", summary=report.summary, head=report.head)
            summary = report.summary
        await _pause(stop, limits.heartbeat_seconds)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def main(arguments: list[str]) -> int:
    """Run the bot of a directory; 2 for wrong arguments, else the fault's exit code."""
    import sys

    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tfgrid.agents.threebot DIR\n")
        return 2
    try:
        asyncio.run(run(open_daemon(Path(arguments[0])), Log("threebot")))
    except errors.GridError as fault:
        sys.stderr.write(f"{fault}\n")
        return fault.exit_code
    return 0
