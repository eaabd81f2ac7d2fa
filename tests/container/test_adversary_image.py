"""Images that are signed and whole, and made to lead the container runtime out of its root.

An image may hold any link: the runtime mounts over it, makes files in it and steps into it. Either
it refuses, or everything it does stays inside.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.container.ground import Node, in_node, make_image
from tfgrid.core import errors

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny image."""
    return make_image(tmp_path_factory.mktemp("image"))


@pytest.fixture
def ground() -> Iterator[Path]:
    """A folder that container ids may pass through, with something precious of the host's."""
    folder = Path(tempfile.mkdtemp(prefix="tfgrid-container-"))
    folder.chmod(0o711)
    (folder / "host").mkdir()
    (folder / "host" / "precious").write_text("mine")
    yield folder
    shutil.rmtree(folder)


def _replaced(name: str, target: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return change


_UP = "../../../../../../../../../.."
IMAGES: dict[str, Callable[[Path], None]] = {
    "proc is a link": _replaced("proc", "/tmp"),
    "proc leads out": _replaced("proc", f"{_UP}{{host}}"),
    "dev leads out": _replaced("dev", f"{_UP}{{host}}"),
    "dev is absolute": _replaced("dev", "{host}"),
    "sys leads out": _replaced("sys", f"{_UP}{{host}}"),
    "etc leads out": _replaced("etc", f"{_UP}{{host}}"),
    "hosts leads out": _replaced("etc/hosts", f"{_UP}{{host}}/precious"),
    "hosts is a descriptor": _replaced("etc/hosts", "/proc/self/fd/7"),
    "resolv is absolute": _replaced("etc/resolv.conf", "{host}/precious"),
    "hosts loops": _replaced("etc/hosts", "hosts"),
}


def _tree(path: Path) -> dict[str, str]:
    return {
        str(entry.relative_to(path)): hashlib.sha256(entry.read_bytes()).hexdigest()
        for entry in sorted(path.rglob("*"))
        if entry.is_file()
    }


@pytest.mark.parametrize("name", IMAGES)
def test_links_in_an_image_lead_the_runtime_nowhere(ground: Path, plain: Path, name: str) -> None:
    """What the container sees and writes is its own; the host's folder stays as it was."""
    image, host = ground / "image", ground / "host"
    shutil.copytree(plain, image, symlinks=True)
    IMAGES[name](image)
    for link in (image / n for n in ("proc", "dev", "sys", "etc", "etc/hosts", "etc/resolv.conf")):
        if link.is_symlink() and "{host}" in str(link.readlink()):
            target = str(link.readlink()).replace("{host}", str(host))
            link.unlink()
            link.symlink_to(target)
    said: list[str] = []

    async def body() -> None:
        node = Node(ground, image)
        await node.with_keeper()
        try:
            script = "cat /etc/hosts /etc/resolv.conf /proc/precious /dev/precious /sys/precious"
            said.append(await node.said(f"{script} 2>/dev/null; echo x >/etc/precious; true"))
        except errors.GridError as fault:
            said.append(f"refused: {fault.code}")
        await node.clean()

    in_node(body)
    assert "mine" not in said[0]
    assert _tree(host) == {"precious": hashlib.sha256(b"mine").hexdigest()}
    assert sorted(entry.name for entry in host.iterdir()) == ["precious"]


@pytest.mark.parametrize("target", ["/proc/self/fd/7", "/proc/self/fd/7/..", "/proc/1/root/.."])
def test_the_working_directory_is_no_way_out(ground: Path, plain: Path, target: str) -> None:
    """A link to a descriptor of the runtime is not stepped into (elsewhere CVE-2024-21626)."""
    image = ground / "image"
    shutil.copytree(plain, image, symlinks=True)
    (image / "work").symlink_to(target)
    said: list[str] = []

    async def body() -> None:
        node = Node(ground, image)
        await node.with_keeper()
        script = f"pwd; ls; cat host/precious ../host/precious .{ground}/host/precious"
        try:
            said.append(await node.said(f"{script} 2>&1; true", cwd="/work"))
        except errors.GridError as fault:
            said.append(f"refused: {fault.code}")
        await node.clean()

    in_node(body)
    assert "mine" not in said[0], said[0]


def test_programs_of_other_machine_types_are_ended(ground: Path, plain: Path) -> None:
    """The x32 twin of a permitted call is no way around the filter: it ends the process."""
    said: list[str] = []

    async def body() -> None:
        node = Node(ground, plain)
        await node.with_keeper()
        said.append(await node.said(f"probe {0x40000000 + 39}; echo $?"))
        await node.clean()

    in_node(body)
    assert said[0].split()[-1] == "159", "128 + SIGSYS"
