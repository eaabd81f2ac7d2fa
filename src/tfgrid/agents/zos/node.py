"""The node process: everything put together, once its namespaces are entered.

    node.json, sealed key --> Follower, Author --> Core0 --> Machine --> keeper
                                                    `--> status.json, heartbeat, log tails

It opens no listening socket: it asks the ledger, the chunk servers and the keeper, and nobody can
ask it. SIGTERM ends this process and leaves the keeper and all workloads running; the next start
adopts them.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfgrid.agents.zos import boot, keeper, primitives
from tfgrid.agents.zos.config import Config
from tfgrid.agents.zos.core0 import plan
from tfgrid.agents.zos.core0.introduce import Introduction
from tfgrid.agents.zos.core0.loop import Core0, Seams
from tfgrid.agents.zos.core0.view import LedgerClock
from tfgrid.agents.zos.report import Reporter
from tfgrid.core import errors, identity
from tfgrid.core.clock import SystemClock
from tfgrid.core.ids import IdentityId, NodeId
from tfgrid.core.log import Log
from tfgrid.core.rng import SystemRng
from tfgrid.core.store import DirectoryStore, SealedStore, Store
from tfgrid.core.transport import Transport
from tfgrid.jumpscale import clients
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["own_keyring", "run"]


def own_keyring(config: Config, store: DirectoryStore) -> identity.Keyring:
    """The node's sealed key; made at its first start.

    Raises:
        errors.NotFound: TFG-4004, the unlock key is not where `node.json` says.
        errors.VerificationFailed: TFG-1402, it does not open the sealed key.

    """
    try:
        unlock = Path(config.unlock_key_path).read_bytes()
    except OSError as fault:
        raise errors.NotFound(
            "TFG-4004", "the key that opens this node's identity is not there",
            where=config.unlock_key_path, hint="restore the file, or provision the node anew",
        ) from fault  # fmt: skip
    try:
        return identity.open_keyring(config.name, store, unlock_key=unlock)
    except errors.NotFound:
        made = identity.Keyring.new(config.name, SystemRng())
        identity.save_keyring(made, store, unlock_key=unlock, rng=SystemRng())
        return made


class _Sources:
    """Chunk servers of an image's signer and of this node's farm, as the ledger has them now."""

    def __init__(self, config: Config, follower: bcdb.Follower) -> None:
        self._farm = config.farm
        self._follower = follower
        self._open: dict[str, Transport] = {}

    def __call__(self, signer: IdentityId) -> Sequence[Transport]:
        urls = farm.image_sources(self._follower.view, self._farm, signer)
        for url in urls:
            if url not in self._open:
                self._open[url] = clients.HttpTransport(url)
        return [self._open[url] for url in urls]


def _registration(config: Config) -> farm.NodeRegister:
    return farm.NodeRegister(
        farm=config.farm,
        endpoint=config.underlay_address,
        trust=config.trust_class,
        roles=config.roles,
        domains=config.gateway_domains,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ledger:
    follower: bcdb.Follower
    author: bcdb.Author


def _open_ledger(config: Config, store: Store, keyring: identity.Keyring) -> _Ledger:
    clock = SystemClock()
    registry = bcdb.registry(farm.kinds(), contract.kinds())
    follower = bcdb.Follower(
        clients.HttpTransport(config.ledger_url), config.trust,
        registry=registry, store=store, clock=clock,
    )  # fmt: skip
    client = bcdb.Client(clients.HttpTransport(config.ledger_url), config.trust)
    author = bcdb.Author(keyring, client, LedgerClock(follower, clock), registry=registry)
    return _Ledger(follower=follower, author=author)


async def _open_machine(
    config: Config, directory: Path, keyring: identity.Keyring, store: Store,
    follower: bcdb.Follower,
) -> primitives.Machine:  # fmt: skip
    run_directory = boot.runtime_directory(config)

    async def revive() -> keeper.Client:
        return await keeper.ensure(run_directory, directory / "keeper")

    launcher = await revive()
    vault = SealedStore(store, unlock_key=keyring.secret("vault"), rng=SystemRng())
    parts = primitives.open_parts(config, directory, vault, launcher, SystemRng(), SystemClock())
    sources = _Sources(config, follower)
    return primitives.Machine(config, directory, store, parts, sources, revive=revive)


async def run(config: Config, directory: Path) -> None:
    """Run a node until SIGTERM or SIGINT; the caller has entered its namespaces.

    Raises:
        errors.GridError: the node cannot start, such as TFG-4004 or TFG-4201.

    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = DirectoryStore(directory / "state")
    keyring = own_keyring(config, store)
    ledger = _open_ledger(config, store, keyring)
    machine = await _open_machine(config, directory, keyring, store, ledger.follower)
    core, reporter = await _open_core(config, directory, keyring, store, ledger, machine)
    gc.collect()
    gc.freeze()
    task = asyncio.create_task(core.run())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    reporter.final(core.report())


async def _open_core(
    config: Config,
    directory: Path,
    keyring: identity.Keyring,
    store: Store,
    ledger: _Ledger,
    machine: primitives.Machine,
) -> tuple[Core0, Reporter]:
    clock, log = SystemClock(), Log("zos", node=config.name)
    node, total = NodeId(keyring.identity), await machine.capacity()
    offer = plan.Offer(
        capacity=total.minus(config.kept),
        roles=config.roles,
        gateway_domains=config.gateway_domains,
        trust_class=config.trust_class,
        lacks=await machine.lacks(),
    )
    reporter = Reporter(
        config, directory, keyring, ledger.author, ledger.follower, machine, clock, offer
    )
    seams = Seams(
        host=machine, clock=clock, store=store, rng=SystemRng(), log=log, author=ledger.author,
        introduce=Introduction(
            node, ledger.author, _registration(config),
            farm.NodeInventory(total=total, reserve=config.kept),
        ),
        report=reporter,
    )  # fmt: skip
    log.info("starts", id=node, ledger=config.trust.ledger)
    return Core0(node, offer, ledger.follower, seams), reporter
