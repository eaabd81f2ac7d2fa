"""Containers: image checked, made, attached to their network, started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tfgrid.agents.zos.core0 import items
from tfgrid.agents.zos.primitives.image import Images
from tfgrid.agents.zos.primitives.memo import Memo
from tfgrid.agents.zos.primitives.network import network_label
from tfgrid.capacity import container, flist, znet
from tfgrid.core import errors, host
from tfgrid.core.store import Store
from tfgrid.jumpscale.sal import topology

__all__ = ["ContainersOfNode", "container_label", "container_spec"]

member_link: Final = "eth0"
_CONDITIONS: Mapping[container.Phase, host.Condition] = {
    "created": "broken",
    "running": "running",
    "ended": "ended",
    "broken": "broken",
}


def container_label(name: str) -> str:
    """The machine's name of a container: 24 digits of its contract, and its workload."""
    contract, _, workload = name.partition("/")
    return f"{contract[:24]}.{workload}"


def container_spec(item: host.Item, image: flist.Image) -> container.Spec:
    """The container that an item asks for, on a verified image. Pure."""
    spec = items.spec_of(item, items.ContainerSpec)
    asked, start = spec.workload, image.manifest.config
    members = (
        znet.Member(name=h.name, address4=h.address4, address6=h.address6) for h in spec.hosts
    )
    return container.Spec(
        name=container_label(item.key.name),
        digest=item.digest,
        image=image.path,
        arguments=(*start.arguments, *asked.arguments),
        environment={**start.environment, **asked.environment},
        cwd=start.directory,
        user=start.user_id,
        group=start.group_id,
        hostname=asked.name,
        limits=container.Limits(
            cpu_millis=asked.cpu_millis,
            memory_bytes=asked.memory_bytes,
            disk_bytes=asked.disk_bytes,
        ),
        hosts=znet.hosts_text(members, own_name=asked.name),
    )


def _facts(item: host.Item | None, status: container.Status) -> dict[str, str | int]:
    facts: dict[str, str | int] = {}
    if item is not None:
        facts["image"] = items.spec_of(item, items.ContainerSpec).workload.image.digest
    if status.pid:
        facts["pid"] = status.pid
    if status.exit_code is not None:
        facts["exit_code"] = status.exit_code
    if status.reason:
        facts["reason"] = status.reason
    if status.limits is not None:
        facts["cpu_millis"] = status.limits.cpu_millis
        facts["memory_bytes"] = status.limits.memory_bytes
        facts["processes"] = status.limits.processes
    return facts


class ContainersOfNode:
    """The containers of a node."""

    def __init__(
        self, runtime: container.Runtime, networks: znet.Networks, images: Images, store: Store
    ) -> None:
        self._runtime = runtime
        self._networks = networks
        self._images = images
        self._memo = Memo("container", store)

    async def observe(self) -> Mapping[host.ItemKey, host.Observed]:
        """Every container; one that runs without its link is broken."""
        found = {}
        for label, status in (await self._runtime.observe()).items():
            key = self._memo.key(label)
            condition = _CONDITIONS[status.phase]
            if condition == "running" and not _attached(status):
                condition = "broken"
            facts = _facts(self._memo.get(label), status)
            found[key] = host.Observed(
                key=key, digest=status.digest, condition=condition, facts=facts
            )
        return found

    async def ensure(self, item: host.Item) -> host.Observed:
        """Make it run as specified; the image is checked again before each start."""
        label = container_label(item.key.name)
        self._memo.keep(label, item)
        spec = items.spec_of(item, items.ContainerSpec)
        there = (await self._runtime.observe()).get(label)
        if there is not None and there.digest == item.digest and there.phase == "running":
            status = there
        else:
            disk_bytes = spec.workload.disk_bytes
            checked = self._checked(item, spec)
            status = await self._runtime.create_checked(label, disk_bytes, checked)
        if status.netns is not None:
            network = network_label(f"{spec.contract}/{spec.place.network}")
            member = znet.Member(
                name=spec.workload.name, address4=spec.member.address4,
                address6=spec.member.address6,
            )  # fmt: skip
            await self._networks.attach(network, member, status.netns)
        status = await self._runtime.start(label)
        return host.Observed(
            key=item.key, digest=item.digest, condition=_CONDITIONS[status.phase],
            facts=_facts(item, status),
        )  # fmt: skip

    async def _checked(self, item: host.Item, spec: items.ContainerSpec) -> container.Spec:
        return container_spec(item, await self._images.verified(spec.workload.image))

    async def remove(self, key: host.ItemKey) -> None:
        """Remove a container with its link, its disk and its log."""
        label = container_label(key.name) if "/" in key.name else key.name
        item = self._memo.get(label)
        if item is not None:
            spec = items.spec_of(item, items.ContainerSpec)
            network = network_label(f"{spec.contract}/{spec.place.network}")
            await self._networks.detach(network, spec.workload.name)
        await self._runtime.remove(label)
        self._memo.forget(label)

    async def log_tail(self, key: host.ItemKey, bytes_max: int) -> bytes:
        """The end of what it wrote."""
        return await self._runtime.tail(container_label(key.name), bytes_max)


def _attached(status: container.Status) -> bool:
    """Whether the container's own namespace holds its link; it goes when the network's end goes."""
    if status.netns is None:
        return False
    try:
        return member_link in topology.read(status.netns).links
    except errors.Failed:
        return False
