"""A device: what a node reserves on it is there after any crash, and gone when it is removed."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.zdb.ground import Error
from tests.zdb.tenants import Network, networks
from tfgrid.capacity import zdb
from tfgrid.core import errors, limits
from tfgrid.core.clock import SystemClock
from tfgrid.jumpscale.executors import DirectLauncher
from tfgrid.jumpscale.sal import claims

pytestmark = [pytest.mark.root, pytest.mark.slow]

MIB = 1024**2
FULL = Error("No space left on this namespace")


class Site:
    """A device with all that it is given, and the process that runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "closed" / "zdb"
        self.run = folder / "run"
        self.claims = claims.Claims(folder / "claims")
        self.launcher = DirectLauncher(folder / "logs")
        self.device = self.another()

    def another(self) -> zdb.Device:
        """The same device for a node that was started again."""
        return zdb.Device(
            self.directory, self.run, self.launcher, SystemClock(), ranges=self.claims, owner="t/n1"
        )

    @property
    def socket(self) -> Path:
        """The admin socket."""
        return self.run / "zdb.sock"

    def admin(self) -> zdb.Client:
        """A client with all rights."""
        return zdb.Client(zdb.Address(socket=self.socket))

    def pid(self) -> int:
        """The process that answers."""
        with self.admin() as admin:
            return int(admin.info()["process_id"])

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        os.kill(self.pid(), signal.SIGKILL)
        asyncio.run(self.launcher.wait("zdb", 10))

    def there(self) -> dict[str, zdb.Held]:
        """What is observed."""
        return dict(asyncio.run(self.device.observe()))

    def ensure(self, wanted: zdb.Reservation) -> None:
        """Have it."""
        asyncio.run(self.device.ensure(wanted))

    def remove(self, name: str) -> None:
        """Have it not."""
        asyncio.run(self.device.remove(name))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A device below a folder that lets nobody but root through."""
    made = Site(tmp_path)
    made.directory.parent.mkdir(mode=0o700)
    try:
        yield made
    finally:
        asyncio.run(made.device.stop())


@pytest.fixture
def anna(tmp_path: Path) -> Iterator[Network]:
    """The network of a tenant."""
    with networks(tmp_path, "anna") as (network,):
        yield network


def reserve(network: Network, **changes: object) -> zdb.Reservation:
    """A reservation of a mebibyte for a tenant."""
    plain = zdb.Reservation(
        name=network.name, disk_bytes=MIB, keys_max=100, places={network.place: network.listen}
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_a_reservation_is_served_in_the_tenants_network(site: Site, anna: Network) -> None:
    """The process starts, the quota is set, the tenant comes in; doing it again changes nothing."""
    assert site.there() == {}
    wanted = reserve(anna, mode="seq", history="last:2")
    site.ensure(wanted)
    pid = site.pid()
    with anna.wire() as tenant:
        key = tenant("SET", "", "payload")
        assert isinstance(key, bytes)
        site.ensure(wanted)
        assert tenant("GET", key) == b"payload"
        held = site.there()["anna"]
    assert held == zdb.Held(
        name="anna", serving=True, mode="seq", disk_bytes_max=MIB, keys_max=100, history="last:2",
        disk_bytes=held.disk_bytes, payload_bytes=7, keys=1, places=frozenset({anna.place}),
        connections=1,
    )  # fmt: skip
    assert 0 < held.disk_bytes < MIB
    assert site.pid() == pid


def test_the_process_has_no_rights_and_no_address(site: Site, anna: Network) -> None:
    """It is a user of its own without capabilities, owns its directory, and listens nowhere."""
    site.ensure(reserve(anna))
    pid = site.pid()
    fields = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    (claim,) = site.claims.held()
    user = str(claim.value)
    assert fields["Uid"].split() == fields["Gid"].split() == [user] * 4
    assert fields["Groups"].strip() == ""
    assert fields["NoNewPrivs"] == "1"
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(fields[kind], 16) == 0
    for folder, _, files in os.walk(site.directory):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            there = path.stat()
            assert (str(there.st_uid), there.st_mode & 0o077) == (user, 0), path
    assert site.socket.stat().st_mode & 0o777 == 0o600
    assert site.socket.stat().st_uid == 0
    listening = subprocess.run(["ss", "-Hltnup"], capture_output=True, text=True, check=True).stdout
    assert f"pid={pid}," not in listening


def test_tenants_of_one_device_do_not_meet(site: Site, tmp_path: Path) -> None:
    """Two reservations with the same address in two networks are two stores in one process."""
    with networks(tmp_path, "one", "two") as made:
        for network in made:
            site.ensure(reserve(network))
        with made[0].wire() as one, made[1].wire() as two:
            assert one("SET", "k", "one's") == b"k"
            assert two("GET", "k") is None
            assert two("NSLIST") == [b"two"]
        assert set(site.there()) == {"one", "two"}
        site.remove("one")
        assert set(site.there()) == {"two"}
        with made[1].wire() as two:
            assert two("PING") == "PONG"
        with pytest.raises(ConnectionRefusedError):
            made[0].wire()


def test_after_kill_9_it_is_all_there_again(site: Site, anna: Network) -> None:
    """The files stay, nothing is served; ensuring again brings data, quota and entrance back."""
    wanted = reserve(anna)
    site.ensure(wanted)
    with anna.wire() as tenant:
        assert tenant("SET", "k", "v") == b"k"
    for _ in range(2):
        site.kill()
        assert site.there() == {"anna": zdb.Held(name="anna", serving=False)}
        with pytest.raises(ConnectionRefusedError):
            anna.wire()
        site.device = site.another()
        site.ensure(wanted)
        with anna.wire() as tenant:
            assert tenant("GET", "k") == b"v"
        held = site.there()["anna"]
        assert (held.disk_bytes_max, held.keys_max, held.keys) == (MIB, 100, 1)


Step = Callable[..., Awaitable[object]]


@pytest.mark.parametrize("killed", [False, True], ids=["node", "both"])
@pytest.mark.parametrize("steps", range(8))
def test_a_crash_at_any_step_is_mended_by_doing_it_again(
    site: Site, anna: Network, steps: int, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node dies, alone or with the process: nobody is in without a quota, and it is mended."""
    left = steps
    exchange: Step = zdb.AsyncClient._exchange

    async def dying(*arguments: object, **more: object) -> object:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return await exchange(*arguments, **more)

    wanted = reserve(anna)
    asyncio.run(site.device._start())
    monkeypatch.setattr(zdb.AsyncClient, "_exchange", dying)
    with pytest.raises(KeyboardInterrupt):
        site.ensure(wanted)
    monkeypatch.undo()
    if killed:
        site.kill()
    for held in site.there().values():
        assert not held.places or (held.disk_bytes_max, held.keys_max) == (MIB, 100)
    site.device = site.another()
    site.ensure(wanted)
    held = site.there()["anna"]
    assert (held.disk_bytes_max, held.keys_max, set(held.places)) == (MIB, 100, {anna.place})
    with anna.wire() as tenant:
        assert tenant("SET", "k", "v") == b"k"


def test_a_quota_is_resized_online(site: Site, anna: Network) -> None:
    """More lets a tenant go on, less stops writing and removes nothing; connections stay."""
    site.ensure(reserve(anna, keys_max=0))
    with anna.wire() as tenant:
        stored = 0
        while tenant("SET", f"k{stored}", bytes(50_000)) != FULL:
            stored += 1
        assert 15 < stored < 21
        site.ensure(reserve(anna, keys_max=0, disk_bytes=2 * MIB))
        assert tenant("SET", "more", bytes(50_000)) == b"more"
        site.ensure(reserve(anna, keys_max=0, disk_bytes=MIB // 2))
        assert tenant("SET", "little", "x") == FULL
        assert tenant("GET", "k0") == bytes(50_000)
        assert tenant("DEL", "k0") == "OK"
        assert tenant("DBSIZE") == stored
        assert tenant("FLUSH") == "OK"
        assert tenant("SET", "little", "x") == b"little"
        held = site.there()["anna"]
        assert (held.disk_bytes_max, held.connections) == (MIB // 2, 1)


def test_a_full_namespace_is_emptied_by_its_tenant(site: Site, anna: Network) -> None:
    """Where history may go, deletes give space back by themselves, and writing goes on."""
    site.ensure(reserve(anna, keys_max=0, history="last:1"))
    with anna.wire() as tenant:
        stored = 0
        while tenant("SET", f"k{stored}", bytes(9_000)) != FULL:
            stored += 1
        for number in range(stored):
            assert tenant("DEL", f"k{number}") == "OK"

        until = time.monotonic() + 60
        while tenant("SET", "again", bytes(9_000)) == FULL:
            assert time.monotonic() < until, "nothing is given back"
            time.sleep(0.2)


def test_another_place_is_another_entrance(site: Site, tmp_path: Path) -> None:
    """A network that was made anew gets a socket of its own, and the old one is closed."""
    with networks(tmp_path, "old", "new") as (old, new):
        site.ensure(reserve(old, name="db"))
        with old.wire() as before:
            assert before("SET", "k", "v") == b"k"
            site.ensure(reserve(new, name="db"))
            assert before.closed()
        with new.wire() as after:
            assert after("GET", "k") == b"v"
        with pytest.raises(ConnectionRefusedError):
            old.wire()
        assert site.there()["db"].places == {new.place}


def test_a_namespace_has_an_entrance_for_each_place(site: Site, tmp_path: Path) -> None:
    """Two families of addresses are two entrances to the same keys; one goes and one stays."""
    with networks(tmp_path, "four", "six") as (four, six):
        both = {network.place: network.listen for network in (four, six)}
        site.ensure(reserve(four, name="db", places=both))
        with four.wire() as one, six.wire() as other:
            assert one("SET", "k", "v") == b"k"
            assert other("GET", "k") == b"v"
            held = site.there()["db"]
            assert (set(held.places), held.connections) == (set(both), 2)
            site.ensure(reserve(four, name="db"))
            assert other.closed()
            assert one("GET", "k") == b"v"
        assert site.there()["db"].places == {four.place}


def test_the_mode_is_decided_before_the_first_write(site: Site, anna: Network) -> None:
    """An empty namespace changes its mode, one that was written to refuses: TFG-3715."""
    site.ensure(reserve(anna, mode="seq"))
    site.ensure(reserve(anna, mode="user"))
    with anna.wire() as tenant:
        assert tenant("SET", "k", "v") == b"k"
    with pytest.raises(errors.Conflict, match="TFG-3715"):
        site.ensure(reserve(anna, mode="seq"))
    with anna.wire() as tenant:
        assert tenant("GET", "k") == b"v"


def test_removing_the_last_leaves_nothing(site: Site, anna: Network) -> None:
    """No process, no file, no claim; removing again, or what never was, does nothing."""
    site.remove("anna")
    site.ensure(reserve(anna))
    pid = site.pid()
    site.remove("never")
    assert site.pid() == pid
    site.remove("anna")
    site.remove("anna")
    assert not Path(f"/proc/{pid}").exists()
    assert asyncio.run(site.launcher.list()) == {}
    assert not site.directory.exists()
    assert not site.socket.exists()
    assert site.claims.held() == ()
    assert site.there() == {}
    site.ensure(reserve(anna))
    assert site.there()["anna"].keys == 0


def test_what_no_process_serves_is_removed_too(site: Site, tmp_path: Path) -> None:
    """After kill -9 a namespace whose contract ended goes with its files."""
    with networks(tmp_path, "one", "two") as made:
        for network in made:
            site.ensure(reserve(network))
        site.kill()
        site.remove("one")
        assert set(site.there()) == {"two"}
        assert not (site.directory / "data" / "one").exists()
        site.kill()
        site.remove("two")
        assert not site.directory.exists()


def test_a_launcher_without_memory_finds_the_process_that_runs(site: Site, anna: Network) -> None:
    """Whoever answers on the admin socket is the process; it is neither doubled nor left behind."""
    site.ensure(reserve(anna))
    pid = site.pid()
    forgetful = Site(site.folder)
    forgetful.ensure(reserve(anna, keys_max=7))
    assert forgetful.pid() == pid
    assert forgetful.there()["anna"].keys_max == 7
    forgetful.remove("anna")
    assert not site.directory.exists()
    assert asyncio.run(site.launcher.list())["zdb"].ended


def test_the_directory_belongs_to_whoever_the_process_is(site: Site, anna: Network) -> None:
    """Claims that were lost give another user; the files follow."""
    site.ensure(reserve(anna))
    with anna.wire() as tenant:
        assert tenant("SET", "k", "v") == b"k"
    site.kill()
    site.claims.release("t")
    site.claims.uids("somebody/else")
    site.ensure(reserve(anna))
    with anna.wire() as tenant:
        assert tenant("GET", "k") == b"v"
    users = {path.stat().st_uid for path in site.directory.rglob("*")}
    assert users == {claim.value for claim in site.claims.held("t")}


@pytest.mark.parametrize(
    "wrong",
    [{"name": ""}, {"name": "default"}, {"name": "../up"}, {"name": "a b"}, {"name": "x" * 129},
     {"name": ".x"}, {"name": "ä"}, {"disk_bytes": -1}, {"keys_max": -1}, {"disk_bytes": 2**63},
     {"places": {"": None}}, {"places": {"a\nb": None}}, {"places": {"x" * 256: None}}],
    ids=str,
)  # fmt: skip
def test_malformed_reservations_start_nothing(site: Site, anna: Network, wrong: object) -> None:
    """What cannot be reserved is TFG-3714, before anything is made."""
    assert isinstance(wrong, dict)
    with pytest.raises(errors.BadInput, match="TFG-3714"):
        site.ensure(reserve(anna, **wrong))
    assert not site.directory.exists()


def test_a_history_that_is_none_is_refused_without_an_entrance(site: Site, anna: Network) -> None:
    """What the server does not understand stops before anybody can come in."""
    with pytest.raises(zdb.Refused, match="Invalid property value"):
        site.ensure(reserve(anna, history="some"))
    assert site.there()["anna"].places == frozenset()


def test_a_process_that_hangs_holds_nobody_up(site: Site, anna: Network) -> None:
    """Who observes is told at once what was seen last, and after a while that nobody answers."""

    async def story() -> None:
        seen = await site.device.observe()
        assert seen["anna"].serving
        os.kill(pid, signal.SIGSTOP)
        began, asked, longest = time.monotonic(), time.monotonic(), 0.0
        while (seen := await site.device.observe())["anna"].serving:
            longest, asked = max(longest, time.monotonic() - asked), time.monotonic()
            assert time.monotonic() < began + 20
        assert seen["anna"] == zdb.Held(name="anna", serving=False, silent=True)
        assert time.monotonic() - began >= zdb.Device.silent_seconds
        asked = time.monotonic()
        assert (await site.device.observe())["anna"].silent
        assert max(longest, time.monotonic() - asked) < zdb.Device.silent_seconds / 2
        os.kill(pid, signal.SIGCONT)
        until = time.monotonic() + 10
        while not (await site.device.observe())["anna"].serving:
            assert time.monotonic() < until

    site.ensure(reserve(anna))
    pid = site.pid()
    try:
        asyncio.run(story())
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_dead_process_is_not_called_silent(site: Site, anna: Network) -> None:
    """Nobody serves, which is another thing than nobody answering."""
    site.ensure(reserve(anna))
    site.kill()
    assert site.there() == {"anna": zdb.Held(name="anna", serving=False)}


def test_the_process_keeps_as_much_in_memory_as_it_is_given(site: Site, anna: Network) -> None:
    """What a node counts for the cache is what its process was told."""
    site.ensure(reserve(anna))
    words = Path(f"/proc/{site.pid()}/cmdline").read_bytes().split(b"\0")
    told = int(words[words.index(b"--cache") + 1])
    assert told == limits.zdb_cache_bytes


def test_the_process_of_a_node_asks_for_large_pages(site: Site, anna: Network) -> None:
    """The environment that a server wants reaches it through the launcher."""
    site.ensure(reserve(anna))
    environment = Path(f"/proc/{site.pid()}/environ").read_bytes().split(b"\0")
    assert b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in environment
