"""The plan of a network is pure: what it says for machines that this one is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from tests.znet.ground import spec
from tfgrid.capacity import znet
from tfgrid.capacity.znet import rules
from tfgrid.capacity.znet.plan import plan
from tfgrid.capacity.znet.reservations import Reservations
from tfgrid.capacity.znet.state import State, nothing
from tfgrid.core.rng import SeededRng
from tfgrid.core.store import MemoryStore
from tfgrid.jumpscale.executors import Spawn
from tfgrid.jumpscale.sal import links, wireguard

network = "ab" * 16
site = znet.Site(netns_directory=Path("/netns"))
record = Reservations(MemoryStore(), SeededRng(1), port_min=51_820).reserve(network)
bare = State(
    exists=False, kernel=False, process=False, tenant=nothing, node=nothing, tables={},
    settings={}, device=None, forwards={},
)  # fmt: skip
peer = znet.Peer(
    public_key="A" * 43, endpoint="10.0.0.2:51820", allowed=("10.99.1.0/24", "fd99:0:0:2::/64")
)
wanted = spec(network, 0, "web", peers=(peer,))


def names(state: State, specification: znet.NetworkSpec = wanted) -> list[str]:
    """The kinds of steps, in order."""
    return [type(step).__name__ for step in plan(specification, record, state, site)]


def test_rules_stand_before_any_link() -> None:
    """Packets never meet a namespace with links and without rules."""
    order = names(bare)
    assert order[0] == "Pin"
    last_rule = max(i for i, name in enumerate(order) if name == "TableSet")
    assert last_rule < min(i for i, name in enumerate(order) if name in {"LinkAdd", "Spawn"})


def test_a_kernel_with_wireguard_starts_no_process() -> None:
    """The link is made in the node's namespace, then moved; `wg` is told in the tenant's."""
    steps = plan(wanted, record, replace(bare, kernel=True), site)
    assert not any(isinstance(step, Spawn) for step in steps)
    made = next(s for s in steps if isinstance(s, links.LinkAdd) and s.kind == "wireguard")
    moved = next(s for s in steps if isinstance(s, links.LinkMove))
    assert made.netns is None and moved.to == Path(f"/netns/net-{network[:16]}")
    told = [s for s in steps if isinstance(s, wireguard.DeviceSet | wireguard.PeerSet)]
    assert len(told) == 2 and all(s.uapi is None and s.netns == moved.to for s in told)


def test_a_process_that_died_is_started_again_with_all_it_knew() -> None:
    """Key, peers and routes are told again even where the old interface still seems to be there."""
    order = names(bare)
    died = names(replace(bare, exists=True, tables={}))
    assert "Pin" in order and "Pin" not in died
    assert died.count("Spawn") == died.count("DeviceSet") == died.count("PeerSet") == 1
    assert died.count("RouteAdd") == 2


def test_a_kernel_without_a_setting_is_not_asked_for_it() -> None:
    """Settings that are as wanted, or not there at all, are not touched."""
    from tfgrid.capacity.znet.state import wanted_settings

    assert "Setting" not in names(replace(bare, settings=dict(wanted_settings)))


def test_forwards_are_filled_anew_when_their_table_is() -> None:
    """A gateway table that must be replaced loses its elements, so they are all added again."""
    gateway = spec(network, 0, "web", gateway=True)
    promised = msgspec.structs.replace(record, forwards={"10.99.0.2:80": 20_000})
    table = next(t for t in rules.tables(gateway, record.link) if t.family == "ip")
    stands = replace(
        bare, tables={("ip", table.table): table.comment}, forwards={"20000": "10.99.0.2 . 80"}
    )
    for state, expected in ((stands, 0), (replace(stands, tables={}), 1)):
        steps = plan(gateway, promised, state, site)
        assert [type(s).__name__ for s in steps].count("ElementAdd") == expected
