"""Entrances: tenants that share a server and nothing else, whatever they try."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zdb.ground import Error, Running, Wire, request
from tests.zdb.tenants import ADDRESS, PORT, Network, admit, networks, private
from tfgrid.capacity import zdb
from tfgrid.core import errors

pytestmark = pytest.mark.root

DENIED = Error("Permission denied")
UNKNOWN = Error("Namespace not found")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, zdb.Client]]:
    """A private server and its admin."""
    with private(tmp_path_factory.mktemp("private")) as made:
        yield made


@pytest.fixture(scope="module")
def tenants(
    grid: tuple[Running, zdb.Client], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Network, Network]]:
    """Two tenants with the same address, each in a namespace of its own, and a third namespace."""
    _, admin = grid
    with networks(tmp_path_factory.mktemp("networks"), "anna", "bert") as (anna, bert):
        for network in (anna, bert):
            admit(admin, network)
        admin.nsnew("closed")
        yield anna, bert


@pytest.fixture
def anna(tenants: tuple[Network, Network]) -> Iterator[Wire]:
    """A connection of the first tenant."""
    with tenants[0].wire() as connection:
        yield connection


@pytest.fixture
def bert(tenants: tuple[Network, Network]) -> Iterator[Wire]:
    """A connection of the second tenant."""
    with tenants[1].wire() as connection:
        yield connection


def test_the_same_address_leads_each_tenant_into_its_own_namespace(
    grid: tuple[Running, zdb.Client], anna: Wire, bert: Wire
) -> None:
    """Overlapping ranges never meet: the same key is two keys, and neither sees the other's."""
    assert anna("SET", "key", "anna's") == b"key"
    assert bert("GET", "key") is None
    assert bert("SET", "key", "bert's") == b"key"
    assert bert("SET", "more", "bert's") == b"more"
    assert [anna("GET", "key"), bert("GET", "key")] == [b"anna's", b"bert's"]
    assert [anna("DBSIZE"), bert("DBSIZE")] == [1, 2]
    _, admin = grid
    listed = {entrance.name: entrance for entrance in admin.entrance_list()}
    assert listed["anna"] == zdb.Entrance("anna", "anna", f"tcp://{ADDRESS}:{PORT}", 1)
    assert admin.dbsize() == 0


@pytest.mark.parametrize(
    "name", ["bert", "default", "closed", "nothing", "ann", "anna\0", "../anna"]
)
def test_no_other_namespace_is_there(anna: Wire, bert: Wire, name: str) -> None:
    """SELECT and NSINFO answer of any other name as of one that does not exist."""
    del bert
    for words in (("SELECT", name), ("SELECT", name, "password"), ("NSINFO", name),
                  ("SELECT", name, "SECURE", "0" * 40)):  # fmt: skip
        assert anna(*words) == UNKNOWN
    assert anna("NSLIST") == [b"anna"]
    assert anna("SELECT", "anna") == "OK"
    assert anna("SET", "own", "v") == b"own"
    assert anna("DEL", "own") == "OK"


@pytest.mark.parametrize(
    "words",
    [("NSNEW", "x"), ("NSDEL", "bert"), ("NSDEL", "anna"), ("NSSET", "anna", "maxdisk", "0"),
     ("NSSET", "bert", "lock", "1"), ("NSJUMP",), ("RELOAD", "bert"), ("INDEX", "DIRTY"),
     ("DATA", "RAW", "0", "64"), ("HOOKS",), ("MIRROR",), ("MASTER",), ("SET", "k", "v", "1"),
     ("DEL", "k", "1"), ("ENTRANCE", "LIST"), ("ENTRANCE", "DEL", "bert"),
     ("ENTRANCE", "ADD", "mine", "bert"), ("ENTRANCE",)],
    ids=" ".join,
)  # fmt: skip
def test_a_tenant_has_no_admin_command(anna: Wire, words: tuple[str, ...]) -> None:
    """Every command of admins is refused, and no password makes one."""
    assert anna(*words) == DENIED
    assert anna("STOP") == Error("Unauthorized")
    for attempt in (("AUTH", "x"), ("AUTH", "SECURE", "0" * 40)):
        assert anna(*attempt) == Error("Authentication disabled")
    assert anna("HELLO", "2", "AUTH", "default", "x") == Error("Authentication disabled")
    assert anna(*words) == DENIED


def test_a_tenant_is_told_nothing_of_others_or_of_the_machine(
    grid: tuple[Running, zdb.Client], anna: Wire, bert: Wire
) -> None:
    """No reply holds another's name, a path, a process, a disk's size, or a count of everything."""
    running, _ = grid
    bert("SET", "secret-key", "secret-payload")
    replies = []
    for words in (
        ("INFO",), ("NSINFO", "anna"), ("NSLIST",), ("CONFIG", "GET", "*"), ("CLIENT", "ID"),
        ("HELLO", "2"), ("HELLO", "3"), ("HELLO", "2"), ("CLIENT", "LIST"), ("CLIENT", "INFO"),
        ("SCAN",), ("RSCAN",), ("KSCAN", "s"), ("DBSIZE",),
    ):  # fmt: skip
        anna.send(request(*words))
        if words != ("HELLO", "3"):
            replies.append(repr(anna.reply()))
        else:
            anna.socket.recv(4096)
    said = "\n".join(replies)
    for secret in ("bert", "closed", "default", "secret", str(running.folder), "path", "freespace",
                   "boot", "uptime", "instance", "process_id", "clients_lifetime", "network_",
                   "commands_", str(running.pid)):  # fmt: skip
        assert secret not in said, secret


def test_ids_of_connections_count_the_own_ones_only(tmp_path: Path) -> None:
    """CLIENT ID and HELLO say how often this tenant came, and nothing of how often others did."""
    with private(tmp_path) as (_, admin), networks(tmp_path, "one", "two") as made:
        for network in made:
            admit(admin, network)
        one, two = made
        for _ in range(5):
            with two.wire() as wire:
                wire("PING")
        with one.wire() as first, one.wire() as second:
            assert [first("CLIENT", "ID"), second("CLIENT", "ID")] == [1, 2]
            said = first("HELLO", "2")
            assert isinstance(said, list)
            assert said[said.index(b"id") + 1] == 1
            shown = second("INFO")
            assert isinstance(shown, bytes)
            assert b"\nconnected_clients: 2\n" in shown


def test_cursors_of_another_namespace_find_nothing(anna: Wire, bert: Wire) -> None:
    """A place is looked for in the own files: nothing of another's comes back by any cursor."""
    for number in range(20):
        bert("SET", f"bert{number}", "secret" * number)
        bert("SET", "chain", f"secret {number}")
    anna("SET", "chain", "anna's")
    cursors = [
        cursor for key in ("bert19", "chain") if isinstance(cursor := bert("KEYCUR", key), bytes)
    ]
    page = bert("SCAN")
    older = bert("HISTORY", "chain")
    assert isinstance(page, list)
    assert isinstance(page[0], bytes)
    assert isinstance(older, list)
    assert isinstance(older[0], bytes)
    for cursor in [*cursors, page[0]]:
        for command in ("SCAN", "RSCAN", "SCANX"):
            anna.send(request(command, cursor))
            assert b"bert" not in repr(anna.reply()).encode()
    for key in ("chain", "bert19"):
        anna.send(request("HISTORY", key, older[0]))
        assert b"secret" not in repr(anna.reply()).encode()
    for offset in range(0, 4096, 8):
        position = (0).to_bytes(4, "little") + offset.to_bytes(4, "little")
        anna.send(request("HISTORY", "chain", position))
        assert b"secret" not in repr(anna.reply()).encode()


def test_waiting_hears_the_own_namespace_only(anna: Wire, bert: Wire) -> None:
    """WAIT is woken by nobody else's commands."""
    anna.send(request("WAIT", "*", "400"))
    time.sleep(0.05)
    assert bert("SET", "noise", "v") == b"noise"
    assert anna.reply() == Error("Timeout")


def test_flush_empties_the_own_namespace_and_no_other(anna: Wire, bert: Wire) -> None:
    """Nobody else can be there, so a tenant may flush, with a password or without one."""
    anna("SET", "a", "1")
    bert("SET", "b", "2")
    assert anna("FLUSH") == "OK"
    assert anna("DBSIZE") == 0
    assert bert("GET", "b") == b"2"


def test_a_namespace_says_whether_its_tenant_writes(
    grid: tuple[Running, zdb.Client], anna: Wire, bert: Wire
) -> None:
    """Lock, freeze and worm hold for tenants, a password does not keep them out."""
    _, admin = grid
    admin.nsset("anna", "password", "secret")
    admin.nsset("anna", "public", "0")
    assert anna("SET", "k", "v") == b"k"
    assert anna("SELECT", "anna") == "OK"
    admin.nsset("anna", "lock", "1")
    assert anna("SET", "k", "w") == Error("Namespace is temporarily locked (read-only)")
    assert anna("FLUSH") == Error("Namespace is temporarily locked (read-only)")
    assert bert("SET", "k", "v") in (b"k", None)
    admin.nsset("anna", "lock", "0")
    admin.nsset("anna", "password", "*")
    assert anna("SET", "k", "w") == b"k"


def test_reload_keeps_tenants_where_they_are(grid: tuple[Running, zdb.Client], anna: Wire) -> None:
    """After RELOAD the connection goes on, and new ones come in."""
    _, admin = grid
    anna("SET", "stays", "v")
    admin.reload("anna")
    assert anna("GET", "stays") == b"v"
    assert admin.entrance_list()[0].namespace == "anna"


def test_sequential_commands_of_a_tenant_stay_its_own(
    grid: tuple[Running, zdb.Client], tmp_path: Path
) -> None:
    """In sequential mode the same ids are given to each tenant, of its own log."""
    _, admin = grid
    with networks(tmp_path, "s1", "s2") as made:
        for network in made:
            admit(admin, network)
            admin.nsset(network.name, "mode", "seq")
        with made[0].wire() as one, made[1].wire() as two:
            ids = [(0).to_bytes(8, "little"), (1).to_bytes(8, "little")]
            assert [one("SET", "", "a"), one("SET", "", "b"), two("SET", "", "c")] == [*ids, ids[0]]
            assert [one("GET", ids[1]), two("GET", ids[1]), two("GET", ids[0])] == [
                b"b",
                None,
                b"c",
            ]
        for network in made:
            admin.nsdel(network.name)


def test_entrances_go_with_their_namespace_and_by_name(tmp_path: Path) -> None:
    """DEL and NSDEL stop listening and cut connections; nobody else notices."""
    with private(tmp_path) as (_, admin), networks(tmp_path, "one", "two", "three") as made:
        for network in made:
            admit(admin, network)
        one, two, three = made
        with one.wire() as first, two.wire() as second, three.wire() as third:
            for wire_ in (first, second, third):
                assert wire_("SET", "k", "v") == b"k"
            admin.entrance_remove("one")
            admin.nsdel("two")
            assert first.closed()
            assert second.closed()
            assert third("GET", "k") == b"v"
        for gone in (one, two):
            with pytest.raises(ConnectionRefusedError):
                gone.wire()
        assert [entrance.name for entrance in admin.entrance_list()] == ["three"]
        with pytest.raises(errors.NotFound, match="TFG-3705"):
            admin.entrance_remove("one")
        assert admin.nsinfo("one").entries == 1


def test_a_listener_is_stopped_even_if_its_maker_kept_it(tmp_path: Path) -> None:
    """Whoever still holds the socket does not keep an entrance open that was removed."""
    with private(tmp_path) as (running, admin), networks(tmp_path, "one") as (one,):
        admin.nsnew("one")
        with one.listen() as listener:
            admin.entrance_add("one", "one", listener)
            with one.wire() as wire_:
                assert wire_("PING") == "PONG"
            admin.entrance_remove("one")
            with pytest.raises(ConnectionRefusedError):
                one.wire()
            before = Path(f"/proc/{running.pid}/stat").read_text().split()[13:15]
            time.sleep(0.3)
            after = Path(f"/proc/{running.pid}/stat").read_text().split()[13:15]
            assert sum(map(int, after)) - sum(map(int, before)) < 5


def test_the_same_name_takes_another_socket_and_keeps_its_connections(tmp_path: Path) -> None:
    """A listener is replaced under its clients; into another namespace it is another entrance."""
    with private(tmp_path) as (_, admin), networks(tmp_path, "old", "new") as (old, new):
        admit(admin, old)
        admin.nsnew("other")
        with old.wire() as client:
            assert client("SET", "k", "v") == b"k"
            with new.listen() as listener:
                admin.entrance_add("old", "old", listener)
            assert client("GET", "k") == b"v"
            with new.wire() as another:
                assert another("GET", "k") == b"v"
                assert admin.entrance_list()[0].connections == 2
            with pytest.raises(ConnectionRefusedError):
                old.wire()
            with old.listen() as listener:
                admin.entrance_add("old", "other", listener)
            assert client.closed()
            with old.wire() as another:
                assert another("NSLIST") == [b"other"]
            assert [entrance.namespace for entrance in admin.entrance_list()] == ["other"]


def test_entrances_are_not_kept_on_disk(tmp_path: Path) -> None:
    """After kill -9 the data is there and nobody comes in until the socket is passed again."""
    with networks(tmp_path, "one") as (one,):
        with private(tmp_path) as (running, admin):
            admit(admin, one)
            admin.nsset("one", "maxdisk", "1048576")
            admin.nsset("one", "maxkeys", "3")
            with one.wire() as wire_:
                for number in range(3):
                    assert wire_("SET", f"k{number}", "v") == b"k%d" % number
            running.kill()
        with private(tmp_path) as (_, admin):
            assert admin.entrance_list() == ()
            with pytest.raises(ConnectionRefusedError):
                one.wire()
            with one.listen() as listener:
                admin.entrance_add("again", "one", listener)
            with one.wire() as wire_:
                assert wire_("GET", "k0") == b"v"
                assert wire_("SET", "k3", "v") == Error("No space left on this namespace")
            there = admin.nsinfo("one")
            assert (there.disk_bytes_max, there.entries_max) == (1048576, 3)
            assert 0 < there.disk_bytes < 1048576


def test_the_client_reads_what_it_is_told(grid: tuple[Running, zdb.Client], anna: Wire) -> None:
    """Quotas are in NSINFO for admin and tenant, and refused when they are no numbers."""
    _, admin = grid
    for word in ("maxdisk", "maxkeys"):
        for value in ("-1", "x", "1e9"):
            with pytest.raises(zdb.Refused, match="Invalid property value"):
                admin.nsset("anna", word, value)
    admin.nsset("anna", "maxkeys", "1000")
    shown = anna("NSINFO", "anna")
    assert isinstance(shown, bytes)
    assert b"\nentries_limit: 1000\n" in shown
    assert admin.nsinfo("anna").entries_max == 1000
    admin.nsset("anna", "maxkeys", "0")
