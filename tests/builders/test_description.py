"""`image.toml`, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfgrid.agents import builders
from tfgrid.agents.builders import debian, description
from tfgrid.core import errors

GOOD = """
name = "web"
base = "debian:bookworm"
packages = ["python3", "ca-certificates"]
entrypoint = ["/usr/bin/python3", "/app/main.py"]
user = { name = "web" }

[environment]
LANG = "C.UTF-8"

[[files]]
source = "main.py"
target = "/app/main.py"
mode = 0o755
"""


def written(directory: Path, text: str) -> Path:
    """A directory with this `image.toml` and a file beside it."""
    (directory / "image.toml").write_text(text)
    (directory / "main.py").write_text("print()\n")
    return directory


def refusal(directory: Path, text: str) -> errors.GridError:
    """The error with which a text is refused."""
    with pytest.raises(errors.GridError) as caught:
        builders.read(written(directory, text))
    return caught.value


def test_a_good_description_is_read(tmp_path: Path) -> None:
    """Every key is understood, and what is left out has its default."""
    read = builders.read(written(tmp_path, GOOD))
    assert (read.name, read.suite, read.variant, read.directory) == (
        "web", "bookworm", "extract", "/",
    )  # fmt: skip
    assert read.user is not None and read.user.id == 1000
    assert read.files[0].mode == 0o755 and read.environment == {"LANG": "C.UTF-8"}


@pytest.mark.parametrize(
    ("old", "new", "line", "near"),
    [
        ("packages", "pakages", 4, "'packages'"),
        ("entrypoint", "entry_point", 5, "'entrypoint'"),
        ("mode", "mod", 14, "'mode'"),
        ("[environment]", "[env]", 8, "'environment'"),
        ('name = "web" }', 'nam = "web" }', 6, "'name'"),
        ("base", "zzz", 3, "use one of"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_spelling(
    tmp_path: Path, old: str, new: str, line: int, near: str
) -> None:
    """A misspelt key, at any depth, is named with its line and what was probably meant."""
    fault = refusal(tmp_path, GOOD.replace(old, new, 1))
    assert fault.code == "TFG-3303" and near in fault.hint
    assert fault.where.endswith(f"image.toml:{line}")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"debian:bookworm"', '"ubuntu:22.04"', "base"),
        ('"debian:bookworm"', '"debian:../x"', "base"),
        ('["python3", "ca-certificates"]', "[]", "packages"),
        ('"ca-certificates"', '"--evil=1"', "packages"),
        ('"ca-certificates"', '"a,b"', "packages"),
        ('"web"\n', '"Web"\n', "name"),
        ('"/app/main.py"\nmode', '"app/main.py"\nmode', "target"),
        ("0o755", "0o4755", "mode"),
        ("0o755", '"755"', "mode"),
        ('{ name = "web" }', '{ name = "web", id = 0 }', "user"),
        ('{ name = "web" }', '{ name = "a:b" }', "user"),
        ('LANG = "C.UTF-8"', 'LANG = "a\\u0000b"', "environment"),
        ('LANG = "C', '"A=B" = "C', "environment"),
        ("entrypoint = [", "entrypoint = [1, ", "entrypoint"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    tmp_path: Path, old: str, new: str, named: str
) -> None:
    """Types, forms and bounds are checked, and the field is named."""
    assert old in GOOD
    fault = refusal(tmp_path, GOOD.replace(old, new, 1))
    assert fault.code == "TFG-3304" and named in fault.what


@pytest.mark.parametrize("text", ["a = = 1", "name = 'x'\nname = 'y'", "\udcff"])
def test_what_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    """Text that is not TOML, with a key twice, or not UTF-8, is refused."""
    written(tmp_path, "")
    (tmp_path / "image.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(errors.BadInput, match="TFG-3302"):
        builders.read(tmp_path)


def test_a_directory_without_a_description_is_refused(tmp_path: Path) -> None:
    """The error says which file is expected."""
    with pytest.raises(errors.NotFound, match=r"TFG-3301.*image\.toml"):
        builders.read(tmp_path)


@pytest.mark.parametrize("source", ["gone.py", "../outside", "/etc/passwd", "link", "folder"])
def test_only_files_beside_the_description_are_copied(tmp_path: Path, source: str) -> None:
    """A file that is not there, is elsewhere, or leads elsewhere by a link is refused."""
    here = tmp_path / "here"
    (here / "folder").mkdir(parents=True)
    (tmp_path / "outside").touch()
    (here / "link").symlink_to("../outside")
    (here / "folder/link").symlink_to("../../outside")
    assert refusal(here, GOOD.replace("main.py", source, 2)).code in {"TFG-3305", "TFG-3304"}


def test_a_directory_is_copied_file_by_file(tmp_path: Path) -> None:
    """Every file below is an input with its own path, mode and digest, in order."""
    (tmp_path / "site/css").mkdir(parents=True)
    (tmp_path / "site/css/a.css").write_text("a")
    (tmp_path / "site/index.html").write_text("i")
    text = GOOD.replace('"main.py"', '"site"').replace('"/app/main.py"\nmode', '"/srv"\nmode')
    found = description.inputs(tmp_path, builders.read(written(tmp_path, text)))
    assert [(path, mode) for path, mode, _ in found] == [
        ("/srv/css/a.css", 0o755), ("/srv/index.html", 0o755),
    ]  # fmt: skip


def test_the_machines_debian_sources_are_used_and_no_others() -> None:
    """Suite, updates and security are taken, with their components; other vendors' are not."""
    targets = [
        "http://deb/debian/ bookworm main", "http://deb/debian/ bookworm contrib",
        "http://deb/debian/ bookworm main", "http://sec/ bookworm-security main",
        "https://vendor/apt nodistro main", "http://deb/debian/ trixie main",
    ]  # fmt: skip
    assert debian.sources_of("bookworm", targets) == [
        "deb http://deb/debian/ bookworm main contrib", "deb http://sec/ bookworm-security main",
    ]  # fmt: skip
    assert debian.sources_of("trixie", []) == []


def test_the_command_is_an_argument_vector(tmp_path: Path) -> None:
    """Packages are sorted, the namespace is private, and no shell is asked."""
    read = builders.read(written(tmp_path, GOOD))
    argv = debian.command(read, tmp_path / "tree", sources=["deb x y z"], options=['A "b";'])
    assert argv[:4] == ["unshare", "--mount", "--propagation", "private"]
    assert "--include=ca-certificates,python3" in argv and '--aptopt=A "b";' in argv
    assert argv[-3:] == ["bookworm", str(tmp_path / "tree"), "deb x y z"]


def test_new_indexes_are_new_inputs(tmp_path: Path) -> None:
    """What stands for the packages' versions changes with its own suite's indexes only."""
    before = debian.releases_digest("bookworm", tmp_path)
    (tmp_path / "deb_dists_trixie_InRelease").write_text("other")
    assert debian.releases_digest("bookworm", tmp_path) == before
    (tmp_path / "deb_dists_bookworm-security_InRelease").write_text("news")
    assert debian.releases_digest("bookworm", tmp_path) != before
