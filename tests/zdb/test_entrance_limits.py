"""What entrances may take: descriptors, connections and memory, each with its bound."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.zdb.ground import Error, Running, Wire, request
from tests.zdb.tenants import admit, descriptors, networks, private
from tfgrid.capacity import zdb
from tfgrid.capacity.zdb import format as wire

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, zdb.Client]]:
    """A private server and its admin."""
    with private(tmp_path_factory.mktemp("private")) as made:
        yield made


def _sent(admin: socket.socket, packet: bytes, *carried: int) -> wire.Reply:
    """Send bytes with descriptors; the reply."""
    if carried:
        socket.send_fds(admin, [packet], list(carried))
    else:
        admin.sendall(packet)
    decoder = wire.Decoder()
    while (found := decoder.next()) is None:
        decoder.feed(admin.recv(4096))
    return found[0]


def test_a_request_carries_exactly_one_listening_socket(
    grid: tuple[Running, zdb.Client], tmp_path: Path
) -> None:
    """Everything else is refused in words and closed: no descriptor stays with the server."""
    running, _ = grid
    add = request("ENTRANCE", "ADD", "e", "default")
    with (
        Wire(zdb.Address(socket=running.folder / "admin.sock")) as admin,
        contextlib.ExitStack() as opened,
    ):
        admin("PING")
        before = descriptors(running.pid)
        tcp = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        datagram = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagram.bind(("127.0.0.1", 0))
        idle = opened.enter_context(socket.socket())
        packets = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        packets.bind(str(tmp_path / "packets"))
        packets.listen()
        one, other = socket.socketpair()
        opened.enter_context(one)
        opened.enter_context(other)
        file = opened.enter_context((tmp_path / "file").open("wb"))
        plain = admin.socket
        assert _sent(plain, add) == Error("No socket came with this request")
        for wrong in (datagram, idle, packets, one, file):
            said = _sent(plain, add, wrong.fileno())
            assert said == Error("This is not a listening stream socket"), wrong
        many = Error("Exactly one socket is needed")
        assert _sent(plain, add, tcp.fileno(), tcp.fileno()) == many
        assert _sent(plain, add, *[tcp.fileno()] * 200) == many
        assert _sent(plain, request("PING"), tcp.fileno()) == "PONG"
        assert _sent(plain, add) == Error("No socket came with this request")
        assert _sent(plain, request("ENTRANCE", "LIST"), tcp.fileno()) == admin("ENTRANCE", "LIST")
        for name, text in (
            ("nothing", "Namespace not found"), ("x" * 129, "Namespace too long"),
        ):  # fmt: skip
            asked = request("ENTRANCE", "ADD", "e", name)
            assert _sent(plain, asked, tcp.fileno()) == Error(text)
        for name, text in (("x" * 256, "Argument too long"), ("a\nb", "This name is not allowed")):
            asked = request("ENTRANCE", "ADD", name, "default")
            assert _sent(plain, asked, tcp.fileno()) == Error(text)
        assert descriptors(running.pid) == before
        assert _sent(plain, add, tcp.fileno()) == "OK"
        assert admin("ENTRANCE", "DEL", "e") == "OK"
        assert descriptors(running.pid) == before
        for words, text in (
            (("ENTRANCE", "OPEN"), "Unknown ENTRANCE subcommand"),
            (("ENTRANCE", "DEL"), "Unexpected arguments"),
            (("ENTRANCE", "DEL", "none"), "This entrance doesn't exists"),
            (("ENTRANCE", "ADD", "e"), "Unexpected arguments"),
        ):  # fmt: skip
            assert admin(*words) == Error(text)


def test_a_descriptor_may_come_with_any_part_of_its_request(
    grid: tuple[Running, zdb.Client],
) -> None:
    """Cut at every byte, with the socket on the first part, it is one request with one socket."""
    running, client = grid
    add = request("ENTRANCE", "ADD", "parts", "default")
    with Wire(zdb.Address(socket=running.folder / "admin.sock")) as admin:
        for cut in range(1, len(add), 5):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                socket.send_fds(admin.socket, [add[:cut]], [listener.fileno()])
                time.sleep(0.002)
                admin.send(add[cut:])
                assert admin.reply() == "OK", cut
                port = listener.getsockname()[1]
            with Wire(zdb.Address("127.0.0.1", port)) as tenant:
                assert tenant("NSLIST") == [b"default"]
        client.entrance_remove("parts")


def test_descriptors_do_not_leak(tmp_path: Path) -> None:
    """A thousand entrances made and removed, with connections, and admins that go half-way."""
    path = tmp_path / "admin.sock"
    with private(tmp_path) as (running, admin):
        admin.ping()
        before = descriptors(running.pid)
        for number in range(300):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                admin.entrance_add(f"e{number % 7}", "default", listener)
                with Wire(zdb.Address("127.0.0.1", listener.getsockname()[1])) as tenant:
                    assert tenant("PING") == "PONG"
            if number % 3 == 0:
                admin.entrance_remove(f"e{number % 7}")
        for entrance in admin.entrance_list():
            admin.entrance_remove(entrance.name)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for _ in range(50):
                with Wire(zdb.Address(socket=path)) as half:
                    socket.send_fds(half.socket, [b"*4\r\n$8\r\nENTR"], [listener.fileno()])
        _until(lambda: descriptors(running.pid) == before)


def _until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until, "it does not come about"
        time.sleep(0.01)


def test_each_entrance_has_its_own_bound_of_connections(tmp_path: Path) -> None:
    """A tenant at its limit is refused in words, another is served, and room comes back."""
    with (
        private(tmp_path, "--entrance-clients", "5") as (_, admin),
        networks(tmp_path, "many", "few") as (many, few),
        contextlib.ExitStack() as opened,
    ):
        for network in (many, few):
            admit(admin, network)
        held = [opened.enter_context(many.wire()) for _ in range(5)]
        assert [wire_("PING") for wire_ in held] == ["PONG"] * 5
        for _ in range(20):
            with many.wire() as refused:
                assert refused.reply() == Error("max number of clients reached")
                assert refused.closed()
        with few.wire() as served:
            assert served("SET", "k", "v") == b"k"
            assert served("CONFIG", "GET", "maxclients") == [b"maxclients", b"5"]
        held[0].socket.close()
        _until(lambda: admin.entrance_list()[0].connections == 4)
        with many.wire() as again:
            assert again("PING") == "PONG"


def test_all_connections_are_shared_equally(tmp_path: Path) -> None:
    """Where all entrances together could take every connection, each may take its part."""
    with (
        private(tmp_path, "--clients", "6") as (_, admin),
        networks(tmp_path, "many", "few") as (many, few),
        contextlib.ExitStack() as opened,
    ):
        for network in (many, few):
            admit(admin, network)
        wires = [opened.enter_context(many.wire()) for _ in range(6)]
        for wire_ in wires:
            wire_.send(request("PING"))
        said = [wire_.reply() for wire_ in wires]
        assert said == ["PONG"] * 3 + [Error("max number of clients reached")] * 3
        for _ in range(3):
            assert opened.enter_context(few.wire())("PING") == "PONG"


def test_a_tenant_that_asks_much_leaves_time_to_others(tmp_path: Path) -> None:
    """Whoever asks one thing is answered long before all that another asked was executed."""
    asked = 40 * 4000
    with (
        private(tmp_path, "--sync", "none") as (running, admin),
        networks(tmp_path, "greedy", "modest") as (greedy, modest),
        contextlib.ExitStack() as opened,
    ):
        for network in (greedy, modest):
            admit(admin, network)
        served = opened.enter_context(modest.wire())
        assert served("SET", "k", "v") == b"k"
        wires = [opened.enter_context(greedy.wire()) for _ in range(40)]
        running.process.send_signal(signal.SIGSTOP)
        for number, wire_ in enumerate(wires):
            wire_.send(b"".join(request("SET", f"{number}-{one}", "v") for one in range(4000)))
        served.send(request("GET", "k"))
        running.process.send_signal(signal.SIGCONT)
        assert served.reply() == b"v"
        assert admin.nsinfo("greedy").entries < asked / 2
        for wire_ in wires:
            for _ in range(4000):
                assert isinstance(wire_.reply(), bytes)
        assert admin.nsinfo("greedy").entries == asked


@pytest.mark.slow
def test_a_tenant_that_never_reads_holds_up_nobody(tmp_path: Path) -> None:
    """Many connections that ask much and read nothing are cut; another tenant is served."""
    with (
        private(tmp_path) as (running, admin),
        networks(tmp_path, "greedy", "modest") as (greedy, modest),
        contextlib.ExitStack() as opened,
    ):
        for network in (greedy, modest):
            admit(admin, network)
        with greedy.wire() as filler:
            for number in range(8):
                filler("SET", f"big{number}", bytes(4 * 1024 * 1024))
        served = opened.enter_context(modest.wire())
        asked = request("MGET", *[f"big{number}" for number in range(8)])
        mute = [opened.enter_context(greedy.wire()) for _ in range(40)]
        for wire_ in mute:
            with contextlib.suppress(OSError):
                wire_.send(asked * 4)
            assert served("SET", "k", b"v" * 100_000) in (b"k", None)
            assert served("GET", "k") == b"v" * 100_000
        cut = [line for line in running.lines() if line["event"] == "a client was cut"]
        assert cut
        assert all("through greedy" in line["source"] for line in cut)
        resident = Path(f"/proc/{running.pid}/statm").read_text().split()[1]
        assert int(resident) * 4096 < 256 * 1024 * 1024
