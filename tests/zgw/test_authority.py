"""The grid's certificates vouch for what they should and for nothing else."""

from __future__ import annotations

import ssl

import pytest

from tfgrid.capacity import zgw
from tfgrid.core import errors

now_ms = 1_790_000_000_000


def handshake(root_pem: bytes, pem: bytes, name: str, tmp: str) -> None:
    """A TLS handshake in memory; raises what a browser would show."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp)
    client = ssl.create_default_context(cadata=root_pem.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=name)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (one, other):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue


@pytest.fixture(scope="module")
def root() -> zgw.Authority:
    """A fresh root."""
    from tfgrid.core.clock import SystemClock

    return zgw.Authority.create("test", now_ms=SystemClock().now_ms())


def test_a_leaf_of_an_intermediate_is_trusted_by_the_root_alone(
    root: zgw.Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A client that knows only the root accepts the name and refuses another."""
    from tfgrid.core.clock import SystemClock

    now = SystemClock().now_ms()
    leaf = root.intermediate("gw", ("grid.localhost",), now_ms=now).leaf(
        ("*.grid.localhost",), now_ms=now
    )
    path = tmp_path_factory.mktemp("pem") / "leaf.pem"
    path.write_bytes(leaf.pem)
    handshake(root.root_pem, leaf.pem, "a.grid.localhost", str(path))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(root.root_pem, leaf.pem, "a.example.com", str(path))


def test_an_intermediate_vouches_for_its_domains_only(root: zgw.Authority) -> None:
    """Names outside, and names that merely end alike, are refused."""
    middle = root.intermediate("gw", ("grid.localhost",), now_ms=now_ms)
    for name in ("example.com", "xgrid.localhost", "*.localhost", "localhost"):
        with pytest.raises(errors.NotAllowed):
            middle.leaf((name,), now_ms=now_ms)


def test_a_client_refuses_what_a_stolen_intermediate_signs(
    root: zgw.Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Even signed past our own check, a foreign name fails at the client."""
    from tfgrid.core.clock import SystemClock

    now = SystemClock().now_ms()
    middle = root.intermediate("gw", ("grid.localhost",), now_ms=now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zgw.Authority, "_permitted", lambda _: ())
        forged = middle.leaf(("bank.example.com",), now_ms=now)
    path = tmp_path_factory.mktemp("pem") / "forged.pem"
    path.write_bytes(forged.pem)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        handshake(root.root_pem, forged.pem, "bank.example.com", str(path))


def test_an_intermediate_makes_no_authority(root: zgw.Authority) -> None:
    """Path length 0: an intermediate cannot make another."""
    middle = root.intermediate("gw", ("grid.localhost",), now_ms=now_ms)
    with pytest.raises(errors.NotAllowed):
        middle.intermediate("more", ("grid.localhost",), now_ms=now_ms)


def test_keys_do_not_show(root: zgw.Authority) -> None:
    """Neither an authority's nor a leaf's representation carries its key."""
    leaf = root.leaf(("a.test",), now_ms=now_ms)
    for thing in (root, leaf):
        assert "PRIVATE" not in repr(thing)
        assert b"PRIVATE KEY" in thing.key_pem
