"""Finishing a tree never touches the machine that it stands on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tfgrid.agents.builders import description, finishing
from tfgrid.core import errors

DESCRIBED = description.Description(
    name="app", base="debian:bookworm", packages=("hello",), entrypoint=("/bin/app",)
)


def tree(tmp_path: Path) -> Path:
    """A small Debian-like tree, with a link that is right inside and wrong outside."""
    root = tmp_path / "tree"
    for name in ("usr/bin", "usr/share/doc/hello", "usr/share/locale/de", "etc", "var/log/apt"):
        (root / name).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "usr/bin/real").touch(mode=0o755)
    (root / "usr/bin/app").symlink_to("/usr/bin/../bin/real")
    (root / "usr/share/doc/hello/copyright").write_text("licence")
    (root / "usr/share/doc/hello/changelog.gz").write_text("x")
    (root / "etc/hostname").write_text("builder.example.org")
    (root / "etc/resolv.conf").write_text("nameserver 192.0.2.1")
    return root


def finished(tmp_path: Path, root: Path, **changes: object) -> None:
    """Finish the tree by a description with some changes."""
    (tmp_path / "source").mkdir(exist_ok=True)
    (tmp_path / "source/file").write_text("content")
    finishing.finish(tmp_path / "source", msgspec.structs.replace(DESCRIBED, **changes), root)


def test_what_a_container_does_not_need_is_left_out(tmp_path: Path) -> None:
    """Documentation but for licences, locales, logs and the builder's own name are gone."""
    root = tree(tmp_path)
    finished(tmp_path, root)
    assert [path.name for path in (root / "usr/share/doc/hello").iterdir()] == ["copyright"]
    assert not (root / "usr/share/locale").exists() and not list((root / "var/log").iterdir())
    assert (root / "etc/hostname").read_bytes() == (root / "etc/resolv.conf").read_bytes() == b""
    assert {"dev", "proc", "sys", "tmp", "run"} <= {path.name for path in root.iterdir()}


def test_users_are_entered_once(tmp_path: Path) -> None:
    """Root, nobody and the image's user are entered; one that is there is left alone."""
    root = tree(tmp_path)
    (root / "etc/passwd").write_text("root:x:0:0:known:/root:/bin/sh\n")
    finished(tmp_path, root, user=description.User(name="app", id=77))
    lines = (root / "etc/passwd").read_text().splitlines()
    assert lines[0] == "root:x:0:0:known:/root:/bin/sh"
    assert [line.split(":")[0] for line in lines] == ["root", "nobody", "app"]
    assert "app:x:77:\n" in (root / "etc/group").read_text()


def test_files_are_copied_with_their_mode(tmp_path: Path) -> None:
    """A copied file has the mode that was asked for, in directories that are made for it."""
    root = tree(tmp_path)
    copied = description.CopiedFile(source="file", target="/srv/app/x", mode=0o640)
    finished(tmp_path, root, files=(copied,))
    assert (root / "srv/app/x").read_text() == "content"
    assert (root / "srv/app/x").stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("target", ["/bin/x", "/out/x", "/out", "/usr/../../x"])
def test_nothing_is_copied_through_a_link(tmp_path: Path, target: str) -> None:
    """A link in the tree is never followed to a place on this machine."""
    root, outside = tree(tmp_path), tmp_path / "outside"
    outside.mkdir()
    (root / "out").symlink_to(outside)
    copied = description.CopiedFile(source="file", target=target)
    with pytest.raises(errors.BadInput, match="TFG-3311"):
        finished(tmp_path, root, files=(copied,))
    assert not list(outside.iterdir()) and not (tmp_path / "x").exists()


@pytest.mark.parametrize("pattern", ["/out/*", "/out/keep", "/*/keep", "/usr/../../outside/keep"])
def test_nothing_is_removed_through_a_link(tmp_path: Path, pattern: str) -> None:
    """A pattern that reaches out of the tree by a link removes nothing there."""
    root, outside = tree(tmp_path), tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").touch()
    (root / "out").symlink_to(outside)
    finished(tmp_path, root, remove=(pattern,))
    assert (outside / "keep").exists()


def test_a_link_itself_can_be_removed(tmp_path: Path) -> None:
    """What a pattern names is removed as a link, not as what it points to."""
    root, outside = tree(tmp_path), tmp_path / "outside"
    outside.mkdir()
    (root / "out").symlink_to(outside)
    finished(tmp_path, root, remove=("/out",))
    assert not (root / "out").is_symlink() and outside.exists()


@pytest.mark.parametrize("program", ["/bin/gone", "app", "/etc", "/loop", "/out/app", "/etc/host"])
def test_a_program_that_is_not_in_the_image_is_refused(tmp_path: Path, program: str) -> None:
    """The program is looked up as the container would, and never on this machine."""
    root = tree(tmp_path)
    (root / "loop").symlink_to("loop")
    (root / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/app").touch()
    with pytest.raises(errors.BadInput, match="TFG-3309"):
        finished(tmp_path, root, entrypoint=(program,))
