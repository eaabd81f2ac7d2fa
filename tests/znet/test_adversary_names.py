"""A contract whose network id was searched for until it meets another tenant's."""

from __future__ import annotations

import pytest

from tfgrid.capacity.znet import model
from tfgrid.capacity.znet.reservations import Reservations
from tfgrid.core import errors
from tfgrid.core.rng import SeededRng
from tfgrid.core.store import MemoryStore


def test_a_network_whose_links_would_be_named_like_anothers_is_refused() -> None:
    """48 bits can be met in hours: the first keeps its tunnel, the second is to order again."""
    store = MemoryStore()
    records = Reservations(store, SeededRng(1), port_min=51_820)
    victim, enemy = "ab" * 6 + "0" * 20, "ab" * 6 + "1" * 20
    assert model.tunnel_name(victim) == model.tunnel_name(enemy)
    before = records.reserve(victim)
    with pytest.raises(errors.Conflict, match="TFG-3407"):
        records.reserve(enemy)
    assert records.networks() == [victim]
    assert records.reserve(victim) == before
