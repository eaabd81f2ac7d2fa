"""What a node promises about a network before it runs, and the text that members read."""

from __future__ import annotations

import pytest

from tests.znet.ground import spec
from tfgrid.capacity import znet
from tfgrid.capacity.znet import model, rules
from tfgrid.capacity.znet.reservations import Reservations
from tfgrid.core import errors, limits
from tfgrid.core.rng import SeededRng
from tfgrid.core.store import MemoryStore


def records(store: MemoryStore) -> Reservations:
    """Records in this store."""
    return Reservations(store, SeededRng(1), port_min=51_820)


def test_nothing_is_promised_that_was_not_written() -> None:
    """With a full disk no key is handed out; the first promise after that is kept."""
    store = MemoryStore()
    store.fail_writes = True
    with pytest.raises(errors.Failed):
        records(store).reserve("ab" * 16)
    store.fail_writes = False
    made = records(store).reserve("ab" * 16)
    assert records(store).get("ab" * 16) == made


def test_numbers_are_never_shared_and_freed_ones_are_used_again() -> None:
    """Every network has its own port and link; what a removed one had goes to the next."""
    store = MemoryStore()
    made = [records(store).reserve(f"{n:02x}" * 16) for n in range(20)]
    assert len({r.port for r in made}) == len({r.link for r in made}) == 20
    records(store).release(f"{3:02x}" * 16)
    again = records(store).reserve("ff" * 16)
    assert (again.port, again.link) == (made[3].port, made[3].link)


def test_a_full_node_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all numbers are taken the next network is refused."""
    monkeypatch.setattr(limits, "networks_per_node_max", 2)
    store = MemoryStore()
    for number in range(2):
        records(store).reserve(f"{number:02x}" * 16)
    with pytest.raises(errors.NoFit) as refused:
        records(store).reserve("ff" * 16)
    assert refused.value.code == "TFG-3401"


def test_a_damaged_record_is_named_and_not_replaced() -> None:
    """A torn record is an error, never silently another key."""
    store = MemoryStore()
    records(store).reserve("ab" * 16)
    name = "networks/" + "ab" * 16
    store.write(name, (store.read(name) or b"")[:-5])
    with pytest.raises(errors.Failed) as refused:
        records(store).reserve("ab" * 16)
    assert refused.value.code == "TFG-3406"


def test_keys_do_not_show_in_representations() -> None:
    """A record's representation has neither its private key nor a part of it."""
    made = records(MemoryStore()).reserve("ab" * 16)
    assert made.private_key not in repr(made)


def test_names_fit_the_kernel_and_differ() -> None:
    """Interface names have at most 15 characters and no two kinds or networks share one."""
    kinds = (model.bridge_name, model.tunnel_name, model.gateway_name, model.link_name)
    ids = ("ab" * 32, "cd" * 32)
    names = {kind(network) for kind in kinds for network in ids}
    names |= {model.port_name(network, name) for network in ids for name in ("web", "db")}
    assert len(names) == 12 and all(len(name) <= 15 for name in names)


def test_link_addresses_of_all_networks_are_apart() -> None:
    """Every possible link has its own four addresses, inside the range that gateways allow."""
    ends = [model.link_addresses(index) for index in range(limits.networks_per_node_max)]
    flat = {address for pair in ends for address in pair}
    assert len(flat) == 2 * limits.networks_per_node_max
    assert ends[0] == ("100.64.0.1", "100.64.0.2")


def test_a_hosts_file_names_everyone_once() -> None:
    """Localhost first, then the member itself, then the others by name, both families."""
    text = znet.hosts_text(spec("ab" * 16, 0, "web", "db").members, own_name="web")
    assert text.splitlines() == [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost ip6-loopback",
        "10.99.0.2 web",
        "fd99:0:0:1::2 web",
        "10.99.0.3 db",
        "fd99:0:0:1::3 db",
    ]


def test_every_chain_that_filters_drops_by_default() -> None:
    """No filter chain of a tenant accepts what no rule names."""
    for table in rules.tables(spec("ab" * 16, 0, "web", gateway=True), 0):
        for line in table.body.splitlines():
            if "type filter hook" in line:
                assert line.endswith("policy drop;")
