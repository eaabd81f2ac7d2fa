"""A follower that goes on from the view it kept, and passes over every view that does not fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.bcdb.notary import Desk, Note, filled, run
from tfgrid.core import errors, limits
from tfgrid.core.store import MemoryStore
from tfgrid.doors.cli.rules_version import rules_version
from tfgrid.ledger import bcdb
from tfgrid.ledger.bcdb import rules

_COUNT = limits.follower_view_entries_min


class _Counted:
    """How many entries the rules were run over since it was last asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count = 0
        original = rules.accept

        def accept(*arguments: Any, **named: Any) -> None:
            self._count += 1
            original(*arguments, **named)

        monkeypatch.setattr("tfgrid.ledger.bcdb.rules.accept", accept)

    def taken(self) -> int:
        """The count, which begins anew."""
        count, self._count = self._count, 0
        return count


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> _Counted:
    """Counts entries that rules are run over."""
    return _Counted(monkeypatch)


def _followed(desk: Desk, store: MemoryStore, **options: Any) -> bcdb.Follower:
    """A follower from this store, which keeps its view."""
    return desk.follower(store, **{"version": "rules-1", **options})


def _view_name(store: MemoryStore) -> str:
    return next(name for name in store.names() if name.endswith("/view"))


def _kept(desk: Desk, count: int = _COUNT) -> MemoryStore:
    """A store in which a follower of so many notes has kept its view."""
    store = MemoryStore()
    run(filled(desk, count))
    run(_followed(desk, store).sync())
    return store


def _same_as_replayed(desk: Desk, store: MemoryStore, found: bcdb.Follower) -> None:
    """What was found is what a follower that replays everything finds, in every respect."""
    copy = MemoryStore()
    for name in store.names():
        if not name.endswith("/view"):
            copy.write(name, store.read(name) or b"")
    replays = desk.follower(copy)
    assert found.size == replays.size
    assert found.head == replays.head
    assert found.view.dump() == replays.view.dump()
    tables = {table for table, _ in replays.view.dump()}
    for table in tables:
        assert list(found.view.scan(table)) == list(replays.view.scan(table))


def test_a_start_replays_only_what_came_after(replayed: _Counted) -> None:
    """The next start runs no rule over what was kept, and one over each entry after it."""
    desk = Desk()
    store = _kept(desk)
    replayed.taken()

    again = _followed(desk, store)
    none = replayed.taken()
    run(desk.author("alice").submit("note.set", Note(name="late", text="x", count=99)))
    replayed.taken()
    new = run(again.sync())
    replayed.taken()
    third = _followed(desk, store)

    assert (none, replayed.taken()) == (0, 1)
    assert [entry.position for entry in new] == [_COUNT + 2]
    _same_as_replayed(desk, store, third)
    assert run(third.sync()) == []


def test_it_is_kept_when_enough_is_new_and_not_each_time() -> None:
    """A short ledger keeps none; a longer one keeps a newer one after a share of its length."""
    desk, store = Desk(), MemoryStore()
    run(filled(desk, _COUNT - 3))
    follower = _followed(desk, store)
    run(follower.sync())
    assert [name for name in store.names() if name.endswith("/view")] == []

    author = desk.author("alice")
    sizes = set[str]()
    for number in range(2 * _COUNT):
        run(author.submit("note.set", Note(name="late", text="x", count=1000 + number)))
        run(follower.sync())
        names = [name for name in store.names() if name.endswith("/view")]
        sizes.update(hashlib.sha256(store.read(name) or b"").hexdigest() for name in names)

    assert len(sizes) == 2
    _same_as_replayed(desk, store, _followed(desk, store))


def test_without_a_version_or_all_bodies_nothing_is_kept_or_read(replayed: _Counted) -> None:
    """Who does not name the rules replays, and so does who holds only some bodies."""
    desk = Desk()
    store = _kept(desk)
    some = MemoryStore()
    run(_followed(desk, some, wants=lambda header: False).sync())
    replayed.taken()

    desk.follower(store)

    assert replayed.taken() == _COUNT + 2
    assert [name for name in some.names() if name.endswith("/view")] == []


def _flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(changed) * 2 // 3] ^= 1
    return bytes(changed)


def _edited(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    """A change of the content under a digest that fits it."""

    def edit(data: bytes) -> bytes:
        value = msgspec.msgpack.decode(data[32:])
        change(value)
        rest = msgspec.msgpack.encode(value)
        return hashlib.sha256(rest).digest() + rest

    return edit


_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "one bit": _flipped,
    "one bit of the digest": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "cut off": lambda data: data[:-1],
    "cut off early": lambda data: data[:20],
    "empty": lambda data: b"",
    "more behind": lambda data: data + b"x",
    "no document": lambda data: hashlib.sha256(b"\xc1").digest() + b"\xc1",
    "another field": _edited(lambda value: value.update(more=1)),
    "a field too few": _edited(lambda value: value.pop("hashes")),
    "another ledger": _edited(lambda value: value.update(ledger="0" * 64)),
    "other rules": _edited(lambda value: value.update(rules="rules-2")),
    "another root": _edited(lambda value: value.update(root="A" * 43)),
    "an edge too short": _edited(lambda value: value["edge"].pop()),
    "a hash too few": _edited(lambda value: value.update(hashes=value["hashes"][32:])),
    "another size": _edited(lambda value: value.update(size=value["size"] + 1)),
    "a size below none": _edited(lambda value: value.update(size=-1)),
}


@pytest.mark.parametrize("name", list(_DAMAGE))
def test_what_does_not_fit_is_passed_over(replayed: _Counted, name: str) -> None:
    """A damaged or foreign view is as none: all is replayed, and the next sync keeps a good one."""
    desk = Desk()
    store = _kept(desk)
    good = store.read(_view_name(store)) or b""
    store.write(_view_name(store), _DAMAGE[name](good))
    replayed.taken()

    found = _followed(desk, store)

    assert replayed.taken() == _COUNT + 2
    _same_as_replayed(desk, store, found)
    assert run(found.sync()) == []
    assert store.read(_view_name(store)) == good


def test_a_view_of_another_ledger_is_passed_over(replayed: _Counted) -> None:
    """A view that was kept for another ledger, whole in itself, is not read."""
    desk, other = Desk(), Desk(keyring="bob")
    store = _kept(desk)
    foreign = _kept(other, _COUNT + 5)
    store.write(_view_name(store), foreign.read(_view_name(foreign)) or b"")
    replayed.taken()

    found = _followed(desk, store)

    assert other.trust.ledger != desk.trust.ledger
    assert replayed.taken() == _COUNT + 2
    _same_as_replayed(desk, store, found)


def test_a_view_of_another_history_is_passed_over(replayed: _Counted) -> None:
    """A view of the same ledger's forged twin ends at another root, and is not believed."""
    desk, twin = Desk(), Desk()
    store = _kept(desk)
    run(filled(twin, _COUNT, who="bob"))
    forged = MemoryStore()
    run(_followed(twin, forged).sync())
    store.write(_view_name(store), forged.read(_view_name(forged)) or b"")
    replayed.taken()

    found = _followed(desk, store)

    assert twin.trust == desk.trust
    assert replayed.taken() == _COUNT + 2
    _same_as_replayed(desk, store, found)
    assert run(found.sync()) == []


def test_a_view_ahead_of_the_log_is_passed_over(replayed: _Counted) -> None:
    """A view of more entries than the kept checkpoint has signed is not read."""
    desk, store = Desk(), MemoryStore()
    run(filled(desk, 5))
    run(_followed(desk, store).sync())
    before = {name: store.read(name) or b"" for name in store.names()}
    author = desk.author("alice")
    for number in range(_COUNT):
        run(author.submit("note.set", Note(name="late", text="x", count=100 + number)))
    run(_followed(desk, store).sync())
    ahead = store.read(_view_name(store)) or b""
    back = MemoryStore()
    for name, data in {**before, _view_name(store): ahead}.items():
        back.write(name, data)
    replayed.taken()

    found = _followed(desk, back)

    assert (found.size, replayed.taken()) == (7, 7)
    assert len(run(found.sync())) == _COUNT


def test_entries_that_are_missing_after_it_are_fetched_again() -> None:
    """A good view over damaged or lost segments does not hide that; the pin stays."""
    for change in ("damage", "lose"):
        desk = Desk()
        store = _kept(desk)
        run(desk.author("alice").submit("note.set", Note(name="late", text="x", count=99)))
        run(_followed(desk, store).sync())
        for name in [name for name in store.names() if "/segments/" in name]:
            if change == "lose":
                store.remove(name)
            else:
                store.write(name, (store.read(name) or b"")[:-3])

        found = _followed(desk, store)

        assert found.size == 0
        assert found.head == desk.ledger.head[1]
        assert len(run(found.sync())) == _COUNT + 3
        _same_as_replayed(desk, store, _followed(desk, store))


def test_damage_before_it_waits_for_the_next_replay() -> None:
    """The view is right although entries that it stands for are damaged; a replay heals those."""
    desk = Desk()
    store = _kept(desk)
    name = next(name for name in store.names() if "/segments/" in name)
    store.write(name, _flipped(store.read(name) or b""))

    found = _followed(desk, store)
    right = found.view.dump() == desk.ledger.reader().view.dump()
    healing = desk.follower(store)

    assert right
    assert healing.size == 0
    assert len(run(healing.sync())) == _COUNT + 2
    _same_as_replayed(desk, store, _followed(desk, store))


def test_long_logs_are_joined_over_several_segments(replayed: _Counted) -> None:
    """A view in the middle of many segments goes on at its place, and new entries join theirs."""
    desk, store = Desk(), MemoryStore()
    run(filled(desk, 600))
    run(_followed(desk, store).sync())
    author = desk.author("alice")
    for number in range(20):
        run(author.submit("note.set", Note(name="late", text="x", count=1000 + number)))
        run(_followed(desk, store).sync())
    replayed.taken()

    found = _followed(desk, store)

    assert replayed.taken() == 20
    _same_as_replayed(desk, store, found)
    assert len([name for name in store.names() if "/segments/" in name]) < 8


def test_a_disk_that_refuses_costs_only_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that cannot be written or read stops nothing."""
    desk, store = Desk(), MemoryStore()
    run(filled(desk, _COUNT))
    write, read = MemoryStore.write, MemoryStore.read

    def refuses_write(self: MemoryStore, name: str, data: bytes) -> None:
        if name.endswith("/view"):
            raise errors.Failed("TFG-1201", "the disk is full")
        write(self, name, data)

    def refuses_read(self: MemoryStore, name: str) -> bytes | None:
        if name.endswith("/view"):
            raise errors.Failed("TFG-1203", "the disk is broken")
        return read(self, name)

    monkeypatch.setattr(MemoryStore, "write", refuses_write)
    assert len(run(_followed(desk, store).sync())) == _COUNT + 2
    monkeypatch.setattr(MemoryStore, "write", write)
    run(_followed(desk, store).sync())
    monkeypatch.setattr(MemoryStore, "read", refuses_read)
    assert _followed(desk, store).size == _COUNT + 2


def test_the_version_changes_with_every_module_of_the_rules(tmp_path: Path) -> None:
    """One byte, one name or one module more in what judges entries is another version."""
    import tfgrid

    here = Path(tfgrid.__file__).parent
    files = {
        name: (here / name).read_bytes()
        for name in ("core/canonical.py", "ledger/farm/records.py", "ledger/contract/checks.py")
    }
    seen = [rules_version(tmp_path), rules_version(here)]
    assert seen[0] == ""
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
        seen.append(rules_version(tmp_path))
        (tmp_path / name).write_bytes(data + b"\n")
        seen.append(rules_version(tmp_path))
    (tmp_path / "core/canonical.py").rename(tmp_path / "core/other.py")
    seen.append(rules_version(tmp_path))
    assert len(set(seen)) == len(seen)
    assert rules_version(here) == seen[1]
