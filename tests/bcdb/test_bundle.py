"""Bundles: what they prove without network, and what changes them in vain."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.bcdb.notary import PEOPLE, REGISTRY, Desk, Note, filled, run
from tfgrid.core import canonical, errors, limits
from tfgrid.ledger import bcdb


@pytest.fixture(scope="module")
def bundle() -> tuple[Desk, bytes]:
    """A ledger with two authors and a rotation, and a bundle of two of its notes."""
    desk = Desk()
    run(filled(desk, 3))
    alice = desk.author("alice")
    run(alice.rotate())
    run(alice.submit("note.set", Note(name="page", text="after rotation")))
    run(filled(desk, 2, who="bob"))
    return desk, run(desk.client.bundle([3, 6]))


def test_a_bundle_replays_without_network(bundle: tuple[Desk, bytes]) -> None:
    """Chosen entries, genesis and identity events are verified and make a view."""
    desk, data = bundle

    verified = bcdb.verify_bundle(data, ledger=desk.trust.ledger, registry=REGISTRY)

    assert [entry.position for entry in verified.entries] == [0, 1, 3, 5, 6]
    assert verified.trust == desk.trust
    assert verified.checkpoint == desk.ledger.head[1]
    assert [key for key, _ in verified.view.scan("note")] == ["n1", "page"]
    state = bcdb.identity_state(verified.view, PEOPLE["alice"].identity)
    assert state is not None
    assert state.index == 1


def test_later_rotations_are_left_out(bundle: tuple[Desk, bytes]) -> None:
    """An entry is judged by the keys of its place, so only identity events before it are needed."""
    desk, _data = bundle

    verified = bcdb.verify_bundle(run(desk.client.bundle([2])), registry=REGISTRY)

    assert [entry.position for entry in verified.entries] == [0, 1, 2]


def test_unknown_kinds(bundle: tuple[Desk, bytes]) -> None:
    """Without a registry other kinds are judged by header and hash; with one, refused."""
    _desk, data = bundle

    assert len(bcdb.verify_bundle(data).entries) == 5
    with pytest.raises(errors.BadInput, match="TFG-2002"):
        bcdb.verify_bundle(data, registry=bcdb.registry())


def test_a_bundle_of_another_ledger(bundle: tuple[Desk, bytes]) -> None:
    """The ledger asked for must be the one whose genesis is inside."""
    _desk, data = bundle
    with pytest.raises(errors.VerificationFailed, match="TFG-2132"):
        bcdb.verify_bundle(data, ledger="1" * 64, registry=REGISTRY)  # type: ignore[arg-type]


def _changed(data: bytes, change: Any) -> bytes:
    document = msgspec.json.decode(data)
    change(document)
    return canonical.encode(document)


def _drop(*positions: int) -> Any:
    def change(document: dict[str, Any]) -> None:
        document["entries"] = [e for e in document["entries"] if e["position"] not in positions]

    return change


def _set(index: int, key: str, value: Any) -> Any:
    def change(document: dict[str, Any]) -> None:
        document["entries"][index][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_drop(0), "TFG-2131"),
        (_drop(0, 1, 3, 5, 6), "TFG-1103"),
        (_drop(1), "TFG-2011"),
        (_drop(5), "TFG-1413"),
        (_set(2, "body", "e30"), "TFG-2114"),
        (_set(2, "body", None), "TFG-2131"),
        (_set(2, "position", 2), "TFG-2111"),
        (_set(2, "position", 6), "TFG-2131"),
        (_set(2, "proof", []), "TFG-2111"),
        (lambda d: d["entries"].reverse(), "TFG-2131"),
        (lambda d: d.update(version=2), "TFG-1103"),
        (lambda d: d.update(checkpoint=""), "TFG-2101"),
        (lambda d: d.update(extra=1), "TFG-1103"),
        (lambda d: d["entries"][2]["leaf"].update(order_time=1), "TFG-2111"),
        (lambda d: d["entries"][0]["leaf"]["header"].update(not_after=1), "TFG-2102"),
    ],
)
def test_changed_bundles_are_refused(bundle: tuple[Desk, bytes], change: Any, code: str) -> None:
    """Nothing can be left out, put in or changed without a named refusal."""
    _desk, data = bundle
    with pytest.raises(errors.GridError, match=code):
        bcdb.verify_bundle(_changed(data, change), registry=REGISTRY)


def test_no_flipped_byte_is_accepted(bundle: tuple[Desk, bytes]) -> None:
    """A bundle with any byte changed is refused by name."""
    _desk, data = bundle
    for index in range(0, len(data), 29):
        damaged = bytearray(data)
        damaged[index] ^= 1
        with pytest.raises(errors.GridError):
            bcdb.verify_bundle(bytes(damaged), registry=REGISTRY)


def test_sizes_are_bounded(bundle: tuple[Desk, bytes]) -> None:
    """Too many entries are refused when exporting, too many bytes when verifying."""
    desk, data = bundle
    head, checkpoint = desk.ledger.head
    with pytest.raises(errors.NotFound, match="TFG-2211"):
        bcdb.export_bundle(desk.ledger.reader(), head, checkpoint.size, [checkpoint.size])
    with pytest.raises(errors.BadInput, match="TFG-1101"):
        bcdb.verify_bundle(data + b" " * limits.bundle_bytes_max)
