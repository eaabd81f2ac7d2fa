"""What the node itself answers for in a network: who reaches it, and what stays out of reach."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.znet.ground import Box, Ground, mesh, network_id, play, spec
from tests.znet.probes import connects, echoes, greeting, hears, run_in
from tfgrid.capacity import znet
from tfgrid.capacity.znet import rules
from tfgrid.capacity.znet.check import check
from tfgrid.core import errors
from tfgrid.jumpscale.sal import namespaces

PORT = 9900
DATA = znet.Service(name="data", address4="10.99.0.200", address6="fd99:0:0:1::200", port=PORT)


@contextlib.contextmanager
def answering(listener: socket.socket, text: str) -> Iterator[None]:
    """Tell whoever connects a name, until the block ends."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(text.encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(2)
        listener.close()


def _own_namespaces() -> list[int]:
    """The network namespaces of this thread and of the process."""
    return [Path(f"/proc/{who}/ns/net").stat().st_ino for who in ("thread-self", "self")]


async def serving(box: Box, network: str, *services: znet.Service) -> None:
    """Have services in a network that is there."""
    box.specs[network] = msgspec.structs.replace(box.specs[network], services=services)
    await box.networks.ensure(box.specs[network])


@pytest.mark.root
@pytest.mark.slow
def test_members_reach_exactly_the_address_and_port(tmp_path: Path) -> None:
    """Members here and on another node reach the service, and no other port or address of it."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web",), ("far",)], gateway=True)
        await serving(boxes[0], network, DATA)
        near, far = boxes[0].inside(network, "web"), boxes[1].inside(network, "far")
        tenant = boxes[0].tenant(network)
        with (
            answering(boxes[0].networks.listen(network, DATA.address4, PORT), "four"),
            answering(boxes[0].networks.listen(network, DATA.address6, PORT), "six"),
            greeting(tenant, 9901, "another port"),
            greeting(tenant, PORT, "another address", address="10.99.0.1"),
            greeting(boxes[0].netns, PORT, "the node"),
        ):
            for member in (near, far):
                assert hears(member, DATA.address4, PORT, seconds=8) == "four"
                assert hears(member, DATA.address6, PORT, seconds=8) == "six"
                for address in (DATA.address4, DATA.address6):
                    assert connects(member, address, 9901, seconds=0.2) == "silence"
                    assert not echoes(member, address, seconds=0.2)
                for address in ("10.99.0.1", "fd99:0:0:1::1", boxes[0].address, "100.64.0.2"):
                    assert connects(member, address, PORT, seconds=0.2) == "silence", address
            assert connects(boxes[0].netns, DATA.address4, PORT, seconds=0.2) == "silence"
            assert connects(boxes[0].netns, "100.64.0.2", PORT, seconds=0.2) == "refused"
        lines = run_in(boxes[0].netns, "ss", "-Hlnt").splitlines()
        assert not [line for line in lines if f":{PORT} " in line]

    play(tmp_path, story)


@pytest.mark.root
@pytest.mark.slow
def test_services_of_overlapping_networks_never_meet(tmp_path: Path) -> None:
    """Two contracts with the same ranges have each their own listener at the same address."""

    async def story(ground: Ground) -> None:
        box, red, blue = ground.node(), network_id(), network_id()
        for network in (red, blue):
            await mesh(network, [box], [("web",)])
            await serving(box, network, DATA)
        with answering(box.networks.listen(red, DATA.address4, PORT), "red"):
            assert hears(box.inside(red, "web"), DATA.address4, PORT) == "red"
            assert connects(box.inside(blue, "web"), DATA.address4, PORT) == "refused"
            with answering(box.networks.listen(blue, DATA.address4, PORT), "blue"):
                assert hears(box.inside(red, "web"), DATA.address4, PORT) == "red"
                assert hears(box.inside(blue, "web"), DATA.address4, PORT) == "blue"

    play(tmp_path, story)


@pytest.mark.root
@pytest.mark.slow
def test_a_member_cannot_take_a_services_address(tmp_path: Path) -> None:
    """Packets of a member that claims the service's address pass nowhere."""

    async def story(ground: Ground) -> None:
        box, network = ground.node(), network_id()
        await mesh(network, [box], [("evil", "good")])
        await serving(box, network, DATA)
        evil, good = box.inside(network, "evil"), box.inside(network, "good")
        run_in(evil, "ip", "address", "add", f"{DATA.address4}/32", "dev", "eth0")
        with (
            greeting(evil, PORT, "evil", address=DATA.address4),
            answering(box.networks.listen(network, DATA.address4, PORT), "data"),
        ):
            assert hears(good, DATA.address4, PORT) == "data"
            assert not echoes(evil, "10.99.0.3", source=DATA.address4, seconds=0.3)

    play(tmp_path, story)


@pytest.mark.root
@pytest.mark.slow
def test_a_listener_belongs_to_one_network_that_stands(tmp_path: Path) -> None:
    """Without network or address there is no listener, nor a second one; the caller stays put."""

    async def story(ground: Ground) -> None:
        box, network = ground.node(), network_id()
        own = _own_namespaces()
        with pytest.raises(errors.NotFound) as absent:
            box.networks.listen(network, DATA.address4, PORT)
        assert absent.value.code == "TFG-3404"
        await mesh(network, [box], [("web",)])
        with pytest.raises(errors.NotFound):
            box.networks.listen(network, DATA.address4, PORT)
        await serving(box, network, DATA)
        with box.networks.listen(network, DATA.address4, PORT):
            with pytest.raises(errors.Conflict) as taken:
                box.networks.listen(network, DATA.address4, PORT)
            assert taken.value.code == "TFG-3408"
        box.networks.listen(network, DATA.address4, PORT).close()
        assert _own_namespaces() == own

    play(tmp_path, story)


@pytest.mark.root
@pytest.mark.slow
def test_services_come_go_and_are_seen(tmp_path: Path) -> None:
    """Ensuring twice changes nothing; a network made anew is another place; what goes is gone."""

    async def story(ground: Ground) -> None:
        box, network = ground.node(), network_id()
        await mesh(network, [box], [("web",)])
        await serving(box, network, DATA)
        assert await box.networks.ensure(box.specs[network]) == ()
        before = (await box.networks.observe())[network]
        assert set(before.services) == {DATA.address4, DATA.address6}
        assert before.inode == box.tenant(network).stat().st_ino

        listener = box.networks.listen(network, DATA.address4, PORT)
        with answering(listener, "data"):
            await box.networks.remove(network)
            prepared = await box.networks.prepare(network)
            assert prepared.port
            await box.networks.ensure(box.specs[network])
            after = (await box.networks.observe())[network]
            assert after.inode not in {0, before.inode}

        await serving(box, network)
        gone = (await box.networks.observe())[network]
        assert (gone.services, gone.whole) == ((), True)

    play(tmp_path, story)


def test_a_thread_that_fails_apart_leaves_its_fault() -> None:
    """What cannot be entered is told to the caller, who stays where it was."""
    with pytest.raises(errors.Failed) as caught:
        namespaces.apart(Path("/nowhere"), lambda: 1)
    assert caught.value.code == "TFG-3001"


def test_a_network_without_services_has_the_rules_that_it_had() -> None:
    """Rules are compared by their text: no network is touched because there could be services."""
    bare = spec("ab" * 16, 0, "web")
    served = msgspec.structs.replace(bare, services=(DATA,))
    plain, opened = (rules.tables(each, 0)[1].body for each in (bare, served))
    assert "services" not in plain and str(PORT) not in plain
    added = [line for line in opened.splitlines() if line not in plain.splitlines()]
    assert set(plain.splitlines()) <= set(opened.splitlines())
    assert plain.startswith("chain input {\n  type filter hook input")
    assert "\n\n" not in plain and "\n\n" not in opened
    assert len([line for line in added if line.endswith("accept")]) == 4


@pytest.mark.parametrize(
    "fields",
    [{"address4": "10.99.0.1"}, {"address4": "10.99.0.2"}, {"address4": "10.99.1.9"},
     {"address6": "fd99:0:0:1::1"}, {"address6": "fd99:0:0:9::9"}],
)  # fmt: skip
def test_a_services_address_is_its_own(fields: dict[str, str]) -> None:
    """An address of the bridge, of a member or of another node is refused."""
    service = msgspec.structs.replace(DATA, **fields)
    wanted = msgspec.structs.replace(spec("ab" * 16, 0, "web"), services=(service,))
    with pytest.raises(errors.BadInput) as caught:
        check(wanted)
    assert caught.value.code == "TFG-3402"
