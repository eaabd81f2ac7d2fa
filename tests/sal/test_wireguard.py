"""WireGuard devices: what is said to them, what they answer, and that keys do not show."""

from __future__ import annotations

import base64
import socket
import threading
from pathlib import Path

import pytest

from tfgrid.core import errors
from tfgrid.jumpscale.sal import wireguard

private = bytes(range(100, 132))
peer = base64.b64encode(bytes(range(32))).decode()


def answering(path: Path, answer: bytes) -> list[bytes]:
    """A device that answers once; the list has what it was told."""
    told: list[bytes] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)

    def serve() -> None:
        connection, _ = server.accept()
        with server, connection:
            told.append(connection.recv(65_536))
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return told


def set_peer(uapi: Path | None = None) -> wireguard.PeerSet:
    """One peer."""
    return wireguard.PeerSet(
        device="wg0", uapi=uapi, public_key=peer, endpoint="10.0.0.1:51820",
        allowed=("10.1.0.0/24", "fd01::/64"), keepalive_seconds=25,
    )  # fmt: skip


def test_public_keys_are_those_of_rfc_7748() -> None:
    """The first iteration of section 5.2: scalar 9 times the base point."""
    nine = bytes([9]) + bytes(31)
    expected = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    assert wireguard.public_key(nine).hex() == expected


def test_a_peer_is_set_by_socket_and_by_line_alike(tmp_path: Path) -> None:
    """The text protocol and the rendered line carry the same key, endpoint and ranges."""
    told = answering(tmp_path / "s", b"errno=0\n\n")
    set_peer(tmp_path / "s").perform()
    assert told[0].decode().splitlines() == [
        "set=1",
        f"public_key={bytes(range(32)).hex()}",
        "endpoint=10.0.0.1:51820",
        "persistent_keepalive_interval=25",
        "replace_allowed_ips=true",
        "allowed_ip=10.1.0.0/24",
        "allowed_ip=fd01::/64",
        "",
    ]
    assert set_peer().argv() == (
        tuple(
            f"wg set wg0 peer {peer} endpoint 10.0.0.1:51820 persistent-keepalive 25 "
            "allowed-ips 10.1.0.0/24,fd01::/64".split()
        ),
    )


def test_private_keys_do_not_show() -> None:
    """Neither representation nor rendered line has the key in any form."""
    change = wireguard.DeviceSet(device="wg0", private_key=private, port=51_820)
    for form in (private.hex(), base64.b64encode(private).decode(), repr(private)):
        assert form not in repr(change) + str(change)


def test_refusals_and_silence_are_told_apart_from_nothing(tmp_path: Path) -> None:
    """An error number is a refusal; no socket, or one that nobody serves, is no device."""
    answering(tmp_path / "s", b"errno=22\n\n")
    with pytest.raises(errors.Failed) as refused:
        set_peer(tmp_path / "s").perform()
    assert refused.value.code == "TFG-3605"
    assert wireguard.read("wg0", uapi=tmp_path / "none") is None
    assert wireguard.serving_pid(tmp_path / "none") is None
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale"))
    assert wireguard.serving_pid(tmp_path / "stale") is None


def test_a_device_is_read_from_either_kind(tmp_path: Path) -> None:
    """The socket's answer and the dump of `wg` give the same value."""
    public = wireguard.public_key(private)
    answer = (
        f"private_key={private.hex()}\nlisten_port=51820\n"
        f"public_key={bytes(range(32)).hex()}\nendpoint=10.0.0.1:51820\n"
        "last_handshake_time_sec=17\nrx_bytes=1\ntx_bytes=2\npersistent_keepalive_interval=25\n"
        "allowed_ip=10.1.0.0/24\nallowed_ip=fd01::/64\nprotocol_version=1\nerrno=0\n\n"
    )
    answering(tmp_path / "s", answer.encode())
    dump = (
        f"{base64.b64encode(private).decode()}\t{base64.b64encode(public).decode()}\t51820\toff\n"
        f"{peer}\t(none)\t10.0.0.1:51820\t10.1.0.0/24,fd01::/64\t17\t1\t2\t25\n"
    )
    seen = wireguard.read("wg0", uapi=tmp_path / "s")
    assert seen == wireguard._from_dump(dump)
    assert seen is not None and seen.peers[peer].allowed == {"10.1.0.0/24", "fd01::/64"}


@pytest.mark.root
def test_the_kernel_is_asked_without_a_trace() -> None:
    """Looking for kernel WireGuard answers alike twice and leaves the namespace as it was."""
    before = socket.if_nameindex()
    assert wireguard.kernel_has_wireguard() == wireguard.kernel_has_wireguard()
    assert socket.if_nameindex() == before
