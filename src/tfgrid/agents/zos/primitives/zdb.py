"""Zero-DB namespaces: on a device, with their quota, reached at an address of their network.

    item --> place in the tenant's network (znet.Networks.listen) --> entrance
         `-> namespace and quota on a device (zdb.Device) ----------'

What a namespace holds cannot be made again. So it is changed in place, whatever of its
specification is another; the device it was made on is written down, and where that device does not
have it any more nothing is made in its place: that is told, until the device is back or the
contract over.

A change that its disk has no room for, or that leaves no room for what it holds, is refused before
anything is touched. It is written down after it is made: until then the namespace is seen as what
it was.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tfgrid.agents.zos.core0 import items
from tfgrid.agents.zos.primitives.memo import Memo
from tfgrid.agents.zos.primitives.network import network_label
from tfgrid.capacity import zdb, znet
from tfgrid.core import errors, host
from tfgrid.core.store import Store
from tfgrid.ledger import contract as contracts

__all__ = ["Disk", "NamespacesOfNode", "namespace_label", "reservation"]

_HOMES: Final = "zdb/homes/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A device of the node: where it is mounted, its class, and what serves it."""

    path: Path
    disk_class: contracts.DiskClass
    device: zdb.Device


def namespace_label(name: str) -> str:
    """The machine's name of a namespace: 32 hexadecimal digits from contract and workload."""
    return network_label(name)


def reservation(
    item: host.Item, networks: znet.Networks, network: znet.NetworkSeen
) -> zdb.Reservation:
    """What an item asks of a device, with its entrances in a network as that stands now."""
    spec = items.spec_of(item, items.ZdbSpec)
    asked = spec.workload
    return zdb.Reservation(
        name=namespace_label(item.key.name),
        mode=asked.mode,
        disk_bytes=asked.disk_bytes,
        keys_max=asked.keys_max,
        history=asked.history,
        places={
            _place(address, network): partial(
                networks.listen, network.id, address, contracts.ZDB_PORT
            )
            for address in _addresses(spec)
        },
    )


def _addresses(spec: items.ZdbSpec) -> tuple[str, str]:
    return spec.member.address4, spec.member.address6


def _place(address: str, network: znet.NetworkSeen) -> str:
    """Where an entrance is: a network that was made anew is another place."""
    return f"net:{network.inode}/{address}"


class NamespacesOfNode:
    """The namespaces of a node, each on one of its disks."""

    def __init__(self, disks: Sequence[Disk], networks: znet.Networks, store: Store) -> None:
        self._disks = {str(disk.path): disk for disk in disks}
        self._networks = networks
        self._store = store
        self._memo = Memo("zdb", store)

    async def observe(
        self, seen: Mapping[str, znet.NetworkSeen]
    ) -> Mapping[host.ItemKey, host.Observed]:
        """Every namespace that is on a disk, or that was begun; running if all of it is as agreed.

        One that its device does not show is broken, not absent: what it held is still owed.
        """
        held = {label: found for _, label, found in await self._held()}
        labels = {label for label, _ in self._memo} | held.keys()
        return {
            self._memo.key(label): self._observed(label, held.get(label), seen)
            for label in sorted(labels)
        }

    async def ensure(self, item: host.Item) -> host.Observed:
        """Have the namespace as specified, changed in place if it is there, and its entrance open.

        Raises:
            errors.NotFound: TFG-3404, its network is not there; TFG-4023, its data is not where it
                was.
            errors.MachineLacks: TFG-4024, no disk of that class.
            errors.Conflict: TFG-4025, its disk has no room for so much more; TFG-4026, it holds
                more than it may; nothing was changed.
            errors.GridError: what `zdb.Device.ensure` raises.

        """
        label = namespace_label(item.key.name)
        if self._memo.get(label) is None:
            self._memo.keep(label, item)
        spec = items.spec_of(item, items.ZdbSpec)
        disk = await self._home(label, spec.workload)
        network = await self._network(spec)
        there = await self._as_it_was(label, item, disk, network)
        if label in there:
            _check_change(spec.workload, there[label], _room(disk, list(there.values())))
        await disk.device.ensure(reservation(item, self._networks, network))
        self._store.write(_HOMES + label, str(disk.path).encode())
        self._memo.keep(label, item)
        found = (await disk.device.observe()).get(label)
        return self._observed(label, found, {network.id: network})

    async def remove(self, key: host.ItemKey) -> None:
        """Remove the namespace with its data; for this its contract must be over."""
        label = namespace_label(key.name) if "/" in key.name else key.name
        for disk, name, _ in await self._held():
            if name == label:
                await disk.device.remove(label)
        self._store.remove(_HOMES + label)
        self._memo.forget(label)

    async def _held(self) -> list[tuple[Disk, str, zdb.Held]]:
        disks = tuple(self._disks.values())
        seen = await asyncio.gather(*(disk.device.observe() for disk in disks))
        return [
            (disk, label, held)
            for disk, found in zip(disks, seen, strict=True)
            for label, held in found.items()
        ]

    async def _network(self, spec: items.ZdbSpec) -> znet.NetworkSeen:
        label = network_label(f"{spec.contract}/{spec.place.network}")
        found = (await self._networks.observe()).get(label)
        if found is None or not found.inode:
            raise errors.NotFound(
                "TFG-3404", "this network is not on this node", where=spec.place.network,
                hint="ensure the network first",
            )  # fmt: skip
        return found

    async def _home(self, label: str, asked: contracts.ZdbNamespace) -> Disk:
        """The disk that has a namespace, or is to have it; never another than it was made on."""
        there = await self._held()
        for disk, name, _ in there:
            if name == label:
                return disk
        made_on = self._store.read(_HOMES + label)
        if made_on is not None:
            raise errors.NotFound(
                "TFG-4023", "the namespace was made on this node and its disk does not have it",
                where=made_on.decode(), hint="mount the disk again, or cancel the contract",
            )  # fmt: skip
        fitting = [d for d in self._disks.values() if d.disk_class == asked.disk_class]
        if not fitting:
            raise errors.MachineLacks(
                "TFG-4024", f"this node has no disk of class {asked.disk_class}", where=asked.name
            )
        return max(fitting, key=lambda disk: _room(disk, [h for d, _, h in there if d is disk]))

    async def _as_it_was(
        self, label: str, item: host.Item, disk: Disk, network: znet.NetworkSeen
    ) -> Mapping[str, zdb.Held]:
        """What a disk holds before a change; only what is served is known, so it is served."""
        there, was = await disk.device.observe(), self._memo.get(label)
        if was is None or was == item or label not in there or there[label].serving:
            return there
        await disk.device.ensure(reservation(was, self._networks, network))
        return await disk.device.observe()

    def _observed(
        self, label: str, held: zdb.Held | None, seen: Mapping[str, znet.NetworkSeen]
    ) -> host.Observed:
        item = self._memo.get(label)
        facts: dict[str, str | int] = {}
        if held is not None and held.serving:
            facts = {"disk_bytes": held.disk_bytes_max, "keys_max": held.keys_max}
            facts |= {"used_bytes": held.disk_bytes, "keys": held.keys}
        fault = _fault(item, held, seen)
        if fault:
            facts["reason"] = fault
        return host.Observed(
            key=self._memo.key(label), digest=item.digest if item else "",
            condition="broken" if fault else "running", facts=facts,
        )  # fmt: skip


def _room(disk: Disk, there: Sequence[zdb.Held]) -> int:
    """Bytes of a disk that nobody was promised."""
    promised = sum(max(0, held.disk_bytes_max - held.disk_bytes) for held in there)
    return shutil.disk_usage(disk.path).free - promised


def _check_change(asked: contracts.ZdbNamespace, held: zdb.Held, room: int) -> None:
    """Hold that a namespace can become what is asked.

    Raises:
        errors.Conflict: TFG-4025, TFG-4026.

    """
    growth = asked.disk_bytes - held.disk_bytes_max
    if held.disk_bytes_max and growth > max(0, room):
        raise errors.Conflict(
            "TFG-4025", f"the namespace is to grow by {growth} bytes, and its disk has "
            f"{max(0, room)} that nobody was promised",
            where=asked.name, hint="ask for less, or wait until others give room back",
        )  # fmt: skip
    for what, wanted, now, limit in (
        ("bytes", asked.disk_bytes, held.disk_bytes, held.disk_bytes_max),
        ("keys", asked.keys_max, held.keys, held.keys_max),
    ):
        if wanted < min(now, limit):
            raise errors.Conflict(
                "TFG-4026", f"the namespace holds {now} {what}, and is to hold at most {wanted}",
                where=asked.name, hint=f"remove keys, or ask for at least {now} {what}",
            )  # fmt: skip


def _fault(
    item: host.Item | None, held: zdb.Held | None, seen: Mapping[str, znet.NetworkSeen]
) -> str:
    """What of a namespace is not as it should be; empty if all is."""
    if item is None:
        return "nobody wrote down whose it is"
    if held is None:
        return "its disk does not have it"
    if not held.serving:
        return "the server of its disk does not answer" if held.silent else "nobody serves its disk"
    spec = items.spec_of(item, items.ZdbSpec)
    network = seen.get(network_label(f"{spec.contract}/{spec.place.network}"))
    if not _as_agreed(spec.workload, held):
        return "its limits are not those agreed"
    if network is None or not set(_addresses(spec)) <= set(network.services):
        return "its address is not in its network"
    if held.places != {_place(address, network) for address in _addresses(spec)}:
        return "nobody listens at its address"
    return held.read_only and f"it takes no writes: {held.read_only}"


def _as_agreed(asked: contracts.ZdbNamespace, held: zdb.Held) -> bool:
    limits_held = (held.mode, held.disk_bytes_max, held.keys_max, held.history)
    return limits_held == (asked.mode, asked.disk_bytes, asked.keys_max, asked.history)
