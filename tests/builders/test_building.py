"""Real images from real Debian packages, built once for all tests here."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tfgrid.agents import builders
from tfgrid.agents.builders import debian
from tfgrid.capacity import flist
from tfgrid.core import errors
from tfgrid.core.identity import Keyring
from tfgrid.core.rng import SeededRng
from tfgrid.core.transport import MemoryTransport

pytestmark = [pytest.mark.root, pytest.mark.slow]

DESCRIBED = """
name = "small"
base = "debian:bookworm"
packages = ["hostname"]
entrypoint = ["/usr/bin/hostname"]
user = { name = "small", id = 1234 }

[[files]]
source = "motd"
target = "/etc/motd"
"""


def keyring(name: str = "expert") -> Keyring:
    """The same publisher each time."""
    return Keyring.new(name, SeededRng(name))


def build(
    directory: Path, place: Path, *, signer: str = "expert", fresh: bool = False
) -> tuple[builders.Built, list[str]]:
    """The image, and what was said on the way."""
    said = list[str]()
    built = builders.build(
        directory, keyring=keyring(signer), store=flist.ChunkStore(place / "store"),
        cache=place / "cache", progress=said.append, fresh=fresh,
    )  # fmt: skip
    return built, said


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that describes a small image."""
    directory = tmp_path_factory.mktemp("small")
    (directory / "image.toml").write_text(DESCRIBED)
    (directory / "motd").write_text("hello\n")
    return directory


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, described: Path) -> Path:
    """A store and a cache in which the image was built once, by whichever worker came first."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built-images"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build(described, shared)
    return shared


def mounts(below: Path) -> list[str]:
    """The mounts of this namespace below a directory."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in lines if str(below) in line]


def test_an_image_is_built_published_and_verified(described: Path, place: Path) -> None:
    """What was built is in the store, signed, with configuration and content as described."""
    built, said = build(described, place)
    summary = flist.verify(
        flist.ChunkStore(place / "store"), built.digest, signer=keyring().identity
    )
    assert built.cached
    assert [line for line in said if "waiting" not in line] == said[-1:]
    assert summary.manifest.config == flist.Config(
        arguments=("/usr/bin/hostname",), environment=summary.manifest.config.environment,
        user_id=1234, group_id=1234,
    )  # fmt: skip
    assert 1_000_000 < summary.manifest.content_bytes < 30_000_000


def test_the_same_inputs_give_the_same_image(described: Path, place: Path, tmp_path: Path) -> None:
    """Built anew elsewhere, every byte is the same, and nothing stays mounted."""
    first, _ = build(described, place)
    second, said = build(described, tmp_path)
    assert not second.cached and len(said) > 3
    assert second.digest == first.digest
    assert not mounts(tmp_path)
    assert not (tmp_path / "cache/small/tree").exists()


def test_another_signer_needs_no_other_build(described: Path, place: Path) -> None:
    """The cache knows trees, not signers: another publisher's image has the same root."""
    first, other = build(described, place)[0], build(described, place, signer="other")[0]
    assert other.cached and other.digest != first.digest
    assert other.manifest.root == first.manifest.root


def test_an_empty_store_is_filled_from_the_cache(
    described: Path, place: Path, tmp_path: Path
) -> None:
    """After a grid was purged, the same image is published to the next without a build."""
    store = flist.ChunkStore(tmp_path / "store")
    built = builders.build(
        described, keyring=keyring(), store=store, cache=place / "cache",
        progress=lambda _: None,
    )  # fmt: skip
    assert built.cached and flist.verify(store, built.digest)


@pytest.mark.parametrize("damage", ["flip", "lose", "index"])
def test_a_damaged_cache_is_no_cache(
    described: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """A flipped byte, a lost chunk or a broken index leads to a build, never to a bad image."""
    shutil.copytree(place / "cache", tmp_path / "cache")
    kept = tmp_path / "cache/small"
    largest = max((kept / "store/chunks").rglob("*"), key=lambda path: path.stat().st_size)
    if damage == "flip":
        data = bytearray(largest.read_bytes())
        data[len(data) // 2] ^= 1
        largest.write_bytes(data)
    elif damage == "lose":
        largest.unlink()
    else:
        (kept / "cached").write_text("{}")
    reached = RuntimeError("a build was begun")
    monkeypatch.setattr(debian, "bootstrap", lambda *_, **__: (_ for _ in ()).throw(reached))
    with pytest.raises(RuntimeError, match="begun"):
        build(described, tmp_path)
    assert not (kept / "tree").exists()


@pytest.mark.parametrize("change", ["file", "mode", "description", "packages", "asked"])
def test_another_input_is_another_build(
    described: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A byte of a file, a mode, a key, newer indexes or the wish for it lead to a build."""
    shutil.copytree(place / "cache", tmp_path / "cache")
    directory = shutil.copytree(described, tmp_path / "described")
    text = (directory / "image.toml").read_text()
    if change == "file":
        (directory / "motd").write_text("hallo\n")
    elif change == "mode":
        (directory / "image.toml").write_text(text + "mode = 0o600\n")
    elif change == "description":
        (directory / "image.toml").write_text('directory = "/srv"\n' + text)
    elif change == "packages":
        monkeypatch.setattr(debian, "releases_digest", lambda _: "0" * 64)
    reached = RuntimeError("a build was begun")
    monkeypatch.setattr(debian, "bootstrap", lambda *_, **__: (_ for _ in ()).throw(reached))
    with pytest.raises(RuntimeError, match="begun"):
        build(directory, tmp_path, fresh=change == "asked")


def test_a_package_that_does_not_exist_is_said_so(tmp_path: Path, described: Path) -> None:
    """The error carries what apt said, and neither tree nor mount is left."""
    (tmp_path / "image.toml").write_text(
        (described / "image.toml").read_text().replace('"hostname"]', '"no-such-package"]')
    )
    (tmp_path / "motd").touch()
    with pytest.raises(errors.Failed, match=r"(?s)TFG-3307.*no-such-package"):
        build(tmp_path, tmp_path)
    assert not mounts(tmp_path) and not (tmp_path / "cache/small/tree").exists()


def test_a_built_tree_runs(described: Path, place: Path, tmp_path: Path) -> None:
    """The program starts in the packed tree, as the user that was asked for."""
    built, _ = build(described, place)
    store = flist.ChunkStore(place / "store")
    node = flist.ImageStore(tmp_path / "node")
    transport = MemoryTransport(flist.Service(store).handle)
    image = asyncio.run(node.ensure(built.digest, keyring().identity, [transport]))
    said = subprocess.run(
        ["chroot", "--userspec=1234:1234", str(image.path), *image.manifest.config.arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == os.uname().nodename
