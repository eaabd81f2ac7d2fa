"""What a grid is made of before anything runs: layout, creation, configuration, what is refused."""

from __future__ import annotations

import fcntl
from pathlib import Path

import msgspec
import pytest

from tfgrid.core import errors
from tfgrid.core.clock import SystemClock
from tfgrid.core.rng import SeededRng
from tfgrid.doors import localgrid
from tfgrid.doors.localgrid import create, model, parts, provision, residue

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def _create(root: Path, nodes: int = 4, farms: int = 2) -> tuple[model.Paths, model.GridFile]:
    paths = model.Paths(root)
    made = create.create(
        paths, nodes=nodes, farms=farms, clock=SystemClock(), rng=SeededRng(str(root))
    )
    return paths, made


def test_nodes_are_dealt_out_and_the_last_is_the_gateway() -> None:
    """Four nodes in two farms: two each, and only n4 is a gateway too."""
    farms, nodes = create.layout(4, 2)
    assert farms == ["f1", "f2"]
    assert [(n.name, n.farm) for n in nodes] == [
        ("n1", "f1"), ("n2", "f1"), ("n3", "f2"), ("n4", "f2"),
    ]  # fmt: skip
    assert [n.name for n in nodes if "gateway" in n.roles] == ["n4"]
    assert len({n.host for n in nodes}) == 4


@pytest.mark.parametrize(("nodes", "farms"), [(0, 0), (2, 3), (41, 2), (4, 0), (-1, 1)])
def test_impossible_layouts_are_refused(nodes: int, farms: int) -> None:
    """No nodes, too many, or more farms than nodes: TFG-5104."""
    with pytest.raises(errors.BadInput) as refused:
        create.layout(nodes, farms)
    assert refused.value.code == "TFG-5104"


def test_a_new_grid_keeps_no_secret_in_clear(home: Path) -> None:
    """Words and keys are in no file of the grid; grid.json reads back; the unlock key is apart."""
    paths, made = _create(home / "grid")
    assert model.read(paths) == made
    ring = create.keyring(paths, made, "alice")
    assert ring.identity == made.identities["alice"]
    key = model.Paths.unlock_key(made.grid)
    assert key.stat().st_mode & 0o777 == 0o600
    phrase = " ".join(ring.words().split()[:4]).encode()
    secrets = (phrase, key.read_bytes(), b"PRIVATE KEY")
    for file in paths.root.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert not any(secret in data for secret in secrets), file


def test_a_creation_that_was_cut_off_begins_anew(home: Path) -> None:
    """Without grid.json the half made grid is made again; a directory of others is left alone."""
    paths, _ = _create(home / "grid")
    paths.grid_file.unlink()
    _, second = _create(home / "grid")
    assert second.grid == second.trust.ledger[:8]
    other = home / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(errors.Conflict):
        _create(other)
    assert (other / "letter.txt").read_text() == "dear"


def test_a_damaged_grid_file_is_named(home: Path) -> None:
    """No file is TFG-5101, a damaged one TFG-5102."""
    paths = model.Paths(home)
    with pytest.raises(errors.NotFound):
        model.find(home)
    paths.grid_file.write_text('{"version": 2}')
    with pytest.raises(errors.BadInput) as refused:
        model.read(paths)
    assert refused.value.code == "TFG-5102"


def test_the_edge_sends_to_gateways_only(home: Path) -> None:
    """HAProxy listens on 127.0.0.1 alone and knows the gateway nodes alone."""
    _, made = _create(home / "grid")
    text = provision.edge_configuration(msgspec.structs.replace(made, underlay="10.9.8"))
    assert [line.split()[-1] for line in text.splitlines() if "bind" in line] == ["127.0.0.1:8443"]
    assert [line.split()[1] for line in text.splitlines() if "    server" in line] == ["n4"]
    assert "10.9.8.14:443" in text


def test_one_command_at_a_time(home: Path) -> None:
    """While a command holds the grid's lock, another one that would stop it is refused."""
    paths, _ = _create(home / "grid")
    with paths.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(errors.Busy) as refused:
            localgrid.down(paths.root, progress=lambda _thing, _state: None)
    assert refused.value.code == "TFG-5114"
    assert paths.grid_file.exists()


def test_every_part_is_found_by_name(home: Path) -> None:
    """The ledger is called bcdb too; an unknown part lists those that are."""
    paths, made = _create(home / "grid")
    assert parts.find(paths, made, "bcdb").kind == "ledger"
    assert parts.find(paths, made, "n3").kind == "node"
    with pytest.raises(errors.NotFound, match="ledger, chunks, n1"):
        parts.find(paths, made, "n7")


def test_a_grid_that_never_ran_leaves_only_its_files(home: Path) -> None:
    """Before `up` nothing of a grid is on the machine but its directory and unlock key."""
    paths, made = _create(home / "grid")
    left = residue.left_behind(made.grid, paths.root)
    assert sorted(line.split()[0] for line in left) == ["file", "file"]
    assert set(residue.contained(made).values()) == {0}
