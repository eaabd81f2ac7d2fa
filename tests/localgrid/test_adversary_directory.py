"""Directories that somebody else prepared for a person who works as root."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from tfgrid.core import canonical, errors
from tfgrid.core.clock import SystemClock
from tfgrid.core.rng import SeededRng
from tfgrid.doors.localgrid import create, lifecycle, model


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> model.Paths:
    """A grid that was made and not started."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = model.Paths(tmp_path / "grid")
    create.create(made, nodes=1, farms=1, clock=SystemClock(), rng=SeededRng(1))
    return made


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("grid", "../../etc"), ("grid", ""), ("grid", "*"), ("grid", "0f3a9c11/.."),
        ("bridge", "eth0"), ("bridge", "-f"), ("underlay", "10.1.2.3; x"), ("underlay", "127.0.0"),
    ],
)  # fmt: skip
def test_grid_json_names_nothing_but_a_grids_own(
    paths: model.Paths, field: str, value: str
) -> None:
    """What is removed and ended follows from these words, so they cannot lead elsewhere."""
    plain = msgspec.json.decode(paths.grid_file.read_bytes())
    paths.grid_file.write_bytes(canonical.encode(plain | {field: value}))
    with pytest.raises(errors.BadInput, match="TFG-5102"):
        model.read(paths)


@pytest.mark.root
@pytest.mark.parametrize(("owner", "mode"), [(65_534, 0o700), (0, 0o777), (0, 0o770)])
def test_a_directory_that_others_can_change_is_not_obeyed(
    paths: model.Paths, owner: int, mode: int
) -> None:
    """Neither opened, nor started, nor purged; nothing in it is touched."""
    os.chown(paths.root, owner, 0)
    paths.root.chmod(mode)
    before = sorted(entry.name for entry in paths.root.iterdir())
    with pytest.raises(errors.NotAllowed, match="TFG-5115"):
        model.find(paths.root)
    with pytest.raises(errors.NotAllowed, match="TFG-5115"), lifecycle._alone(paths):
        pass
    with pytest.raises(errors.NotAllowed, match="TFG-5115"):
        lifecycle.purge(paths.root, progress=lambda *_: None)
    assert sorted(entry.name for entry in paths.root.iterdir()) == before


@pytest.mark.parametrize("name", ["cache", "ca", "identities", "ledger", "other"])
def test_a_directory_with_somebodys_things_is_not_emptied(tmp_path: Path, name: str) -> None:
    """A folder that only bears the name of one of ours is no creation that was cut off."""
    precious = tmp_path / "home" / name / "precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    with pytest.raises(errors.Conflict, match="TFG-5105"):
        create._clear(model.Paths(tmp_path / "home"))
    assert precious.read_text() == "mine"


def test_a_creation_that_was_cut_off_begins_anew(paths: model.Paths) -> None:
    """The ledger is founded first, so it is there without grid.json; the next one replaces it."""
    paths.grid_file.unlink()
    create._clear(paths)
    assert list(paths.root.iterdir()) == []


def test_purge_leaves_what_the_grid_did_not_make(paths: model.Paths) -> None:
    """Somebody's file beside the grid stays and is named; everything of the grid goes."""
    (paths.root / "notes.txt").write_text("mine")
    (paths.root / "x.proof").write_text("{}")
    (paths.root / "images").symlink_to("/etc")
    told: list[str] = []
    lifecycle._remove_files(paths, lambda thing, state: told.append(f"{thing} {state}"))
    assert [entry.name for entry in paths.root.iterdir()] == ["notes.txt"]
    assert told == ["notes.txt kept: it is not the grid's"]
    assert Path("/etc/passwd").exists()


def test_secrets_of_a_new_grid_are_its_owners_alone(paths: model.Paths) -> None:
    """Directory, identities and unlock key let nobody else in, and no words stand in the clear."""
    assert paths.root.stat().st_mode & 0o777 == 0o700
    grid = model.read(paths)
    assert model.Paths.unlock_key(grid.grid).stat().st_mode & 0o777 == 0o600
    words = create.keyring(paths, grid, "alice").words().encode()
    for entry in (e for e in paths.root.rglob("*") if e.is_file()):
        assert words not in entry.read_bytes(), entry
