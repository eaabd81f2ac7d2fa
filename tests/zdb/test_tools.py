"""The tools for files at rest, from Python and from the command line."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.zdb.ground import serving
from tfgrid.capacity import zdb
from tfgrid.core import errors


def program(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    argv = [sys.executable, "-c", "from tfgrid.doors.cli import main; main()", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def places(folder: Path) -> tuple[Path, Path]:
    """Data and index directory of a server that ran there."""
    return folder / "data", folder / "index"


def digest(folder: Path) -> str:
    """What all files below a folder hold."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    whole = hashlib.sha256()
    for path in paths:
        whole.update(f"{path} {path.stat().st_size}".encode() + path.read_bytes())
    return whole.hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store at rest: 300 keys in default, three versions of each, and a sequential namespace."""
    with serving(tmp_path, "--sync", "none") as server, server.client() as client:
        for version in range(3):
            client.call(
                [(b"SET", b"k%03d" % n, b"value-%03d-%d" % (n, version)) for n in range(300)]
            )
        client.nsnew("seq")
        client.nsset("seq", "mode", "seq")
        client.select("seq")
        client.call([(b"SET", b"", b"x")] * 20)
        assert server.stop() == 0
    return tmp_path


def test_a_good_store_is_called_good_and_left_as_it_is(store: Path) -> None:
    """Check counts every version and changes no byte."""
    before = digest(store)
    report = zdb.check(*places(store))
    assert report.findings == ()
    assert [(s.name, s.mode, s.entries, s.versions) for s in report.namespaces] == [
        ("default", "user", 300, 900), ("seq", "seq", 20, 20),
    ]  # fmt: skip
    assert [s.entries for s in zdb.describe(*places(store)).namespaces] == [300, 20]
    assert digest(store) == before


def test_a_torn_tail_and_a_lost_index_are_found_and_then_mended(store: Path) -> None:
    """Check says what repair does, without doing it; afterwards nothing is wrong."""
    data, index = places(store)
    with (data / "default" / "d0").open("ab") as file:
        file.write(b"\xff" * 333)
    (index / "default" / "i0").unlink()
    before = digest(store)
    found = zdb.check(data, index)
    assert found.findings
    assert not found.lossy
    assert digest(store) == before
    mended = zdb.mend(data, index)
    assert mended.findings == found.findings
    assert zdb.check(data, index).findings == ()
    assert [s.versions for s in zdb.check(data, index).namespaces] == [900, 20]


def test_a_rebuilt_index_finds_everything(store: Path) -> None:
    """Rebuild throws a wrong index away and makes it from the data."""
    data, index = places(store)
    keys = list(zdb.dump(data, index))
    for path in index.rglob("i0"):
        path.write_bytes(b"nonsense" * 100)
    zdb.mend(data, index, rebuild=True)
    assert zdb.check(data, index).findings == ()
    assert list(zdb.dump(data, index)) == keys
    assert len(keys) == 320
    assert bytes.fromhex(keys[0].key) == b"k000"


def test_a_damaged_record_is_a_named_loss(store: Path) -> None:
    """A flipped bit in a payload is found with namespace, file and offset; the rest is counted."""
    data, index = places(store)
    path = data / "default" / "d0"
    content = bytearray(path.read_bytes())
    at = content.index(b"value-123-2")
    content[at + 3] ^= 1
    path.write_bytes(content)
    report = zdb.check(data, index)
    assert report.lossy
    finding = report.findings[0]
    assert (finding.namespace, finding.file) == ("default", "d0")
    assert finding.offset <= at


def test_a_server_keeps_the_tools_out(tmp_path: Path) -> None:
    """Tools refuse directories that a server holds, and directories that are not there."""
    with serving(tmp_path), pytest.raises(errors.Busy, match="TFG-3712"):
        zdb.check(*places(tmp_path))
    with pytest.raises(errors.BadInput, match="TFG-3711"):
        zdb.check(tmp_path / "none", tmp_path / "index")
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_the_command_line_has_every_tool(store: Path) -> None:
    """check, dump, repair and rebuild answer with their schemas; a loss is exit code 11."""
    words = [str(place) for place in places(store)]
    told = json.loads(program("zdb", "check", *words, "--json").stdout)
    assert (told["schema"], told["versions"], told["findings"]) == ("tfgrid.zdb-report/1", 920, [])
    lines = program("zdb", "dump", *words, "--json").stdout.splitlines()
    assert len(lines) == 320
    assert json.loads(lines[0])["schema"] == "tfgrid.zdb-entry/1"
    assert "nothing wrong" in program("zdb", "repair", *words).stdout
    assert program("zdb", "rebuild", *words).returncode == 2
    assert "mended: default/i0" in program("zdb", "rebuild", *words, "--yes").stdout
    assert "nothing wrong" in program("zdb", "check", *words).stdout
    path = store / "data" / "default" / "d0"
    content = bytearray(path.read_bytes())
    content[content.index(b"value-007-2") + 1] ^= 1
    path.write_bytes(content)
    lossy = program("zdb", "check", *words)
    assert lossy.returncode == 11
    assert "lost: default/d0" in lossy.stdout


@pytest.mark.slow
def test_the_command_line_serves_and_asks(tmp_path: Path) -> None:
    """`zdb serve` becomes the server with the password out of sight; `zdb info` asks it."""
    socket, folder = tmp_path / "z.sock", tmp_path / "s"
    options = ["--data", f"{folder}/data", "--index", f"{folder}/index", "--socket", str(socket)]
    planned = json.loads(program("zdb", "serve", *options, "--dry-run", "--json").stdout)
    words = [*zdb.PROGRAM, "serve"]
    assert planned["arguments"][: len(words)] == words
    argv = [sys.executable, "-c", "from tfgrid.doors.cli import main; main()", "zdb", "serve",
            *options, "--admin", "hush"]  # fmt: skip
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        while "listening" not in (line := process.stderr.readline()):
            assert line
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"hush" not in arguments
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert b"glibc.malloc.hugetlb=" in environment
        with zdb.Client(zdb.Address(socket=socket)) as client:
            client.auth("hush")
            client.set(b"k", b"v")
        told = json.loads(program("zdb", "info", "--server", str(socket), "--json").stdout)
        assert told["schema"] == "tfgrid.zdb-info/1"
        assert told["namespaces"][0]["entries"] == 1
        assert "default" in program("zdb", "info", "--server", str(socket)).stdout
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stderr.close()
        process.wait()
