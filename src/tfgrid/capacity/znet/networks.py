"""The networks of a node: prepare, ensure, observe, remove, and what is attached to them.

Every verb reads the machine, plans what must change and performs that, one verb at a time: there
is no memory here that could disagree with the machine. The only thing kept is what was promised
to others (`reservations`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tfgrid.capacity.znet import model, rules
from tfgrid.capacity.znet.check import check
from tfgrid.capacity.znet.model import (
    Forward,
    Member,
    NetworkSeen,
    NetworkSpec,
    Prepared,
    Site,
)
from tfgrid.capacity.znet.plan import Step, plan, plan_attachment, plan_forwards
from tfgrid.capacity.znet.reservations import Reservation, Reservations
from tfgrid.capacity.znet.state import State, read_state
from tfgrid.capacity.znet.tunnel import Tunnels
from tfgrid.core import errors
from tfgrid.core.clock import Clock
from tfgrid.core.rng import Rng
from tfgrid.core.store import Store
from tfgrid.jumpscale.executors import Launcher, Spawn
from tfgrid.jumpscale.sal import links, namespaces, nftables, topology, wireguard
from tfgrid.jumpscale.sal.change import Change
from tfgrid.jumpscale.sal.topology import Address

__all__ = ["Networks"]

_PREFIX: Final = "net-"
_CARRIER_MS: Final = 2000
_POLL_SECONDS: Final = 0.005
_BACKLOG: Final = 1024


class Networks:
    """All networks of one node. Every verb may be repeated; what is there already is not touched.

    `store` holds a private key, a port and a link number per network and must be sealed or
    readable by root only.
    """

    def __init__(
        self, *, site: Site, store: Store, rng: Rng, clock: Clock, launcher: Launcher
    ) -> None:
        self._site = site
        self._records = Reservations(store, rng, port_min=site.port_min)
        self._tunnels = Tunnels(site, launcher, clock)
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._kernel: bool | None = None if site.user_space is None else not site.user_space

    async def prepare(self, network: str) -> Prepared:
        """Make or recall this node's key and UDP port in a network; nothing runs yet.

        Raises:
            errors.NoFit: TFG-3401, all ports or links of the node are taken.

        """
        return self._records.reserve(network).prepared

    async def changes(self, spec: NetworkSpec) -> tuple[Step, ...]:
        """What `ensure` would change now, for a dry run; empty if all is as specified.

        A network that was never prepared is, because its key and port are part of what would
        change.
        """
        check(spec)
        record = self._records.reserve(spec.id)
        return plan(spec, record, await self._read(spec.id), self._site)

    async def ensure(self, spec: NetworkSpec) -> tuple[Step, ...]:
        """Make the network as specified; returns what had to be changed (nothing, the second time).

        Raises:
            errors.BadInput: TFG-3402, the specification contradicts itself.
            errors.Failed: TFG-3403, the tunnel's process did not come up.

        """
        async with self._one_at_a_time:
            steps = await self.changes(spec)
            await self._perform(steps)
            return steps

    async def observe(self) -> dict[str, NetworkSeen]:
        """Every network that was prepared or has a namespace here, by id.

        A namespace whose record is lost appears under the digits that its name carries; it can be
        removed by those.
        """
        async with self._one_at_a_time:
            known = set(self._records.networks())
            named = {model.namespace_name(network) for network in known}
            strays = {n.removeprefix(_PREFIX) for n in self._namespaces() if n not in named}
            return {network: await self._seen(network) for network in sorted(known | strays)}

    async def remove(self, network: str) -> None:
        """Remove the network with its key and port claim; nothing of it is left.

        Does nothing if there is none.
        """
        async with self._one_at_a_time:
            netns = self._netns(network)
            state = await self._read(network)
            # Links first: a namespace is taken apart in the background, and a link to it would
            # outlive this call.
            for name, link in state.tenant.links.items():
                if link.kind in {"veth", "bridge", "wireguard"}:
                    links.LinkRemove(netns=netns, name=name).perform()
            await self._tunnels.stop(network)
            if model.tunnel_name(network) in topology.read(self._site.node_netns).links:
                name = model.tunnel_name(network)
                links.LinkRemove(netns=self._site.node_netns, name=name).perform()
            namespaces.Unpin(path=netns).perform()
            self._records.release(network)

    async def attach(self, network: str, member: Member, netns: Path) -> tuple[Step, ...]:
        """Give the member's namespace its eth0, addresses and only route.

        Returns what had to be changed.

        The network must have been ensured with this member in it. The namespace is made and
        pinned by others.

        Raises:
            errors.NotFound: TFG-3404, the network is not there.

        """
        async with self._one_at_a_time:
            tenant = self._tenant(network)
            gateways = _bridge_addresses(tenant, model.bridge_name(network), network)
            inside = topology.read(netns)
            here = self._netns(network)
            steps = plan_attachment(network, member, gateways, tenant, inside, here, netns)
            await self._perform(steps)
            if steps:
                await self._carried(here, model.port_name(network, member.name))
            return steps

    async def detach(self, network: str, member: str) -> None:
        """Take the member's link away; does nothing if there is none."""
        async with self._one_at_a_time:
            port = model.port_name(network, member)
            netns = self._netns(network)
            if namespaces.is_pinned(netns) and port in topology.read(netns).links:
                links.LinkRemove(netns=netns, name=port).perform()

    def listen(self, network: str, address: str, port: int) -> socket.socket:
        """A listening socket at the address of a service, in the tenant's namespace for good.

        Whoever has the socket answers there, in whatever namespace it runs itself. The network must
        have been ensured with this service in it.

        Raises:
            errors.NotFound: TFG-3404, the network is not there, or has no such service.
            errors.Conflict: TFG-3408, somebody listens there already.

        """
        bits = 128 if ":" in address else 32
        if Address(model.service_link, f"{address}/{bits}") not in self._tenant(network).addresses:
            raise _absent(network)
        try:
            return namespaces.apart(self._netns(network), lambda: _listener(address, port))
        except OSError as error:
            raise errors.Conflict(
                "TFG-3408", f"nobody can listen at {address}:{port}: {error.strerror}",
                where=network, hint="whoever listens there has to let go of it first",
            ) from error  # fmt: skip

    async def forward(self, network: str, address4: str, port: int) -> Forward:
        """Make a member's port reachable from the node's own namespace.

        Stable over restarts, safe to repeat.

        Raises:
            errors.NotFound: TFG-3404, the network is not there or has no gateway link.
            errors.BadInput: TFG-3405, no such address or port can be in a network.

        """
        target = _target(address4, port)
        async with self._one_at_a_time:
            record = self._records.get(network)
            if record is None or model.gateway_name(network) not in self._tenant(network).links:
                raise _absent(network)
            record = self._records.forward(network, record, target)
            await self._perform(self._forward_changes(network, record))
            return next(f for f in record.forwarded() if (f.address, f.port) == (address4, port))

    async def unforward(self, network: str, address4: str, port: int) -> None:
        """Undo `forward`; does nothing if it is not there."""
        target = _target(address4, port)
        async with self._one_at_a_time:
            record = self._records.get(network)
            if record is None:
                return
            record = self._records.unforward(network, record, target)
            if namespaces.is_pinned(self._netns(network)):
                await self._perform(self._forward_changes(network, record))

    async def _carried(self, netns: Path, link: str) -> None:
        """Wait a moment for the kernel to let packets pass.

        A container's first one is not lost.
        """
        until = self._clock.monotonic_ms() + _CARRIER_MS
        while self._clock.monotonic_ms() < until:
            there = topology.read(netns).links.get(link)
            if there is None or there.carries:
                return
            await self._clock.sleep(_POLL_SECONDS)

    def _forward_changes(self, network: str, record: Reservation) -> tuple[Change, ...]:
        netns = self._netns(network)
        if ("ip", rules.gateway_table) not in nftables.read_comments(netns):
            return ()
        seen = nftables.read_ports(netns, rules.gateway_table, rules.forwards_map)
        return tuple(plan_forwards(record, seen, netns))

    def _netns(self, network: str) -> Path:
        return self._site.netns_directory / model.namespace_name(network)

    def _namespaces(self) -> list[str]:
        try:
            names = [path.name for path in self._site.netns_directory.iterdir()]
        except FileNotFoundError:
            return []
        return [name for name in names if name.startswith(_PREFIX)]

    def _tenant(self, network: str) -> topology.Topology:
        netns = self._netns(network)
        if not namespaces.is_pinned(netns):
            raise _absent(network)
        return topology.read(netns)

    async def _read(self, network: str) -> State:
        if self._kernel is None:
            self._kernel = wireguard.kernel_has_wireguard()
        alive = False if self._kernel else await self._tunnels.alive(network)
        return read_state(self._site, network, kernel=self._kernel, process=alive)

    async def _seen(self, network: str) -> NetworkSeen:
        state = await self._read(network)
        record = self._records.get(network)
        comment = state.tables.get(("inet", rules.name), "")
        device = state.device
        ports = frozenset(n for n, link in state.tenant.links.items() if link.master)
        return NetworkSeen(
            id=network,
            label=comment.partition("/")[2],
            whole=_whole(network, state),
            public_key=record.prepared.public_key if record else "",
            port=record.port if record else 0,
            ports=tuple(sorted(ports)),
            latest_handshakes=(
                {_plain_key(key): peer.latest_handshake for key, peer in device.peers.items()}
                if device
                else {}
            ),
            forwards=_standing(record, state.forwards) if record else (),
            inode=self._netns(network).stat().st_ino if state.exists else 0,
            services=_served(state.tenant),
        )

    async def _perform(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if isinstance(step, Spawn):
                await self._tunnels.start(step)
            else:
                step.perform()


def _whole(network: str, state: State) -> bool:
    bridge = state.tenant.links.get(model.bridge_name(network))
    stands = bool(bridge and bridge.up and state.device)
    return stands and {("inet", rules.name), ("bridge", rules.name)} <= state.tables.keys()


def _served(tenant: topology.Topology) -> tuple[str, ...]:
    addresses = (a for a in tenant.addresses if a.link == model.service_link)
    found = (a.address for a in addresses if a.address not in model.loopback_addresses)
    return tuple(sorted(address.partition("/")[0] for address in found))


def _listener(address: str, port: int) -> socket.socket:
    """A listening socket in the calling thread's namespace; nothing else may hold the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _standing(record: Reservation, seen: dict[str, str]) -> tuple[Forward, ...]:
    return tuple(
        f for f in record.forwarded() if seen.get(str(f.link_port)) == f"{f.address} . {f.port}"
    )


def _absent(network: str) -> errors.NotFound:
    return errors.NotFound(
        "TFG-3404", "this network, or the part asked for, is not on this node", where=network,
        hint="ensure the network first",
    )  # fmt: skip


def _target(address4: str, port: int) -> str:
    try:
        address = ipaddress.IPv4Address(address4)
    except ValueError as error:
        raise errors.BadInput("TFG-3405", f"{address4!r} is no IPv4 address") from error
    if not address.is_private or address.is_loopback or address.is_link_local or port < 1:
        raise errors.BadInput(
            "TFG-3405", f"{address4}:{port} cannot be in a network", where=address4
        )
    return f"{address}:{port}"


def _bridge_addresses(tenant: topology.Topology, bridge: str, network: str) -> tuple[str, str]:
    found = sorted(a.address.partition("/")[0] for a in tenant.addresses if a.link == bridge)
    four, six = [a for a in found if ":" not in a], [a for a in found if ":" in a]
    if len(four) != 1 or len(six) != 1:
        raise _absent(network)
    return four[0], six[0]


def _plain_key(wire_key: str) -> str:
    return wire_key.rstrip("=").replace("+", "-").replace("/", "_")
