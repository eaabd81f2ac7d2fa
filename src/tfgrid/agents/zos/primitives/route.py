"""Routes: a name at this gateway, answered by containers of a network through its link."""

from __future__ import annotations

from collections.abc import Mapping

from tfgrid.agents.zos.core0 import items
from tfgrid.agents.zos.primitives.memo import Memo
from tfgrid.agents.zos.primitives.network import network_label
from tfgrid.capacity import zgw, znet
from tfgrid.core import errors, host
from tfgrid.core.store import Store

__all__ = ["RoutesOfNode"]


class RoutesOfNode:
    """The routes of a gateway node (None on others). HAProxy runs while there are any."""

    def __init__(self, gateway: zgw.Gateway | None, networks: znet.Networks, store: Store) -> None:
        self._gateway = gateway
        self._networks = networks
        self._memo = Memo("route", store)

    async def observe(
        self, seen: Mapping[str, znet.NetworkSeen]
    ) -> Mapping[host.ItemKey, host.Observed]:
        """Every name that is answered; one whose forwards are gone is broken."""
        if self._gateway is None:
            return {}
        try:
            routes = await self._gateway.observe()
        except errors.Unreachable as fault:
            # It starts, or is gone: its routes are not whole; the rest can still be seen.
            return {item.key: _broken(item, fault.what) for _, item in self._memo}
        found = {}
        for name, route in routes.items():
            item = self._memo.get(name)
            key = self._memo.key(name)
            whole = item is not None and _forwarded(item, seen)
            up = sum(health == "up" for health in route.backends.values())
            found[key] = host.Observed(
                key=key, digest=route.label, condition="running" if whole else "broken",
                facts={"backends_up": up, "backends": len(route.backends)},
            )  # fmt: skip
        return found

    async def ensure(self, item: host.Item) -> host.Observed:
        """Have the name answered by the containers listed."""
        if self._gateway is None:
            raise errors.MachineLacks("TFG-4022", "this node is no gateway", where=item.key.name)
        spec = items.spec_of(item, items.RouteSpec)
        self._memo.keep(spec.workload.host, item)
        network = network_label(f"{spec.contract}/{spec.place.network}")
        backends = []
        for backend in spec.backends:
            end = await self._networks.forward(network, backend.address4, spec.workload.port)
            backends.append(zgw.Backend(address=end.link_address, port=end.link_port))
        await self._gateway.ensure(
            zgw.Route(
                host=spec.workload.host, backends=tuple(backends),
                health_path=spec.workload.health_path, label=item.digest,
            )
        )  # fmt: skip
        return host.Observed(key=item.key, digest=item.digest, condition="running")

    async def remove(self, key: host.ItemKey) -> None:
        """Answer the name no more, and take its forwards away; the last route ends HAProxy."""
        if self._gateway is None:
            return
        name, item = next(((n, i) for n, i in self._memo if i.key == key), (key.name, None))
        await self._gateway.remove(name)
        if item is not None:
            spec = items.spec_of(item, items.RouteSpec)
            network = network_label(f"{spec.contract}/{spec.place.network}")
            for backend in spec.backends:
                await self._networks.unforward(network, backend.address4, spec.workload.port)
        self._memo.forget(name)
        if not await self._gateway.observe():
            await self._gateway.stop()


def _broken(item: host.Item, reason: str) -> host.Observed:
    return host.Observed(
        key=item.key, digest=item.digest, condition="broken", facts={"reason": reason}
    )


def _forwarded(item: host.Item, seen: Mapping[str, znet.NetworkSeen]) -> bool:
    spec = items.spec_of(item, items.RouteSpec)
    network = seen.get(network_label(f"{spec.contract}/{spec.place.network}"))
    ends = {(f.address, f.port) for f in network.forwards} if network else set()
    return all((b.address4, spec.workload.port) in ends for b in spec.backends)
