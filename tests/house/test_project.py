"""The project as a whole: versions agree, locks are complete, no machine is in the tree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tfgrid
from tests.house import tree
from tfgrid import _native

_PROJECT = tomllib.loads(tree.text(Path("pyproject.toml")))
_CARGO = tomllib.loads(tree.text(Path("rust/Cargo.toml")))

# Written in two parts, or this file would be the first to hold them.
_REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"), ("pythonhosted", "org"), ("index.crates", "io"), ("static.crates", "io"),
        ("registry.npmjs", "org"), ("proxy.golang", "org"), ("ghcr", "io"),
    )
)  # fmt: skip


def test_versions_agree() -> None:
    """Python, Rust, the built native module and the change log are of one version."""
    version = _PROJECT["project"]["version"]
    assert tfgrid.__version__ == version
    assert _CARGO["workspace"]["package"]["version"] == version
    assert _native.__version__ == version
    assert f"## [{version}]" in tree.text(Path("CHANGELOG.md")) or "## [Unreleased]" in tree.text(
        Path("CHANGELOG.md")
    )


def _requirements() -> list[Requirement]:
    groups: dict[str, list[str]] = _PROJECT["dependency-groups"]
    texts = [*_PROJECT["project"]["dependencies"], *(r for group in groups.values() for r in group)]
    return [Requirement(text) for text in texts]


def _locked(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ ;\\]+)", text, re.MULTILINE))


def test_the_lock_has_every_requirement() -> None:
    """Every dependency is locked in a version that is permitted; `make lock` mends it."""
    locked = _locked(tree.text(Path("requirements.lock")))
    for requirement in _requirements():
        version = locked.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not locked"
        assert requirement.specifier.contains(version)


def test_the_lock_has_hashes() -> None:
    """Every locked package has a hash, so that nothing else can take its place."""
    blocks = re.split(r"^(?=\S)", tree.text(Path("requirements.lock")), flags=re.MULTILINE)
    packages = [b for b in blocks if "==" in b]
    assert packages
    assert all("--hash=sha256:" in b for b in packages)


@pytest.mark.parametrize("table", ["dependencies", "dev"])
def test_every_dependency_has_its_reason(table: str) -> None:
    """Each dependency has a reason beside it, in `pyproject.toml` and in the list of packages."""
    block = re.search(
        rf"^{table} = \[\n(.*?)^\]", tree.text(Path("pyproject.toml")), re.MULTILINE | re.DOTALL
    )
    assert block
    assert [line for line in block[1].splitlines() if not re.search(r'",\s+# \S', line)] == []


def test_every_debian_package_has_its_reason() -> None:
    """Each line of the list is a package, when it is needed and why; none stands twice."""
    lines = tree.text(Path("setup/packages.list")).splitlines()
    rows = [line.split(maxsplit=2) for line in lines if line and not line.startswith("#")]
    assert all(len(row) == 3 and row[1] in {"always", "rust", "bench"} for row in rows)
    assert len({row[0] for row in rows}) == len(rows)


def _holding(words: Iterable[str], *, but: frozenset[str] = frozenset()) -> list[str]:
    return [
        f"{p}: {w}" for p in tree.files() if str(p) not in but for w in words if w in tree.text(p)
    ]


def test_nothing_of_this_machine_is_in_the_tree() -> None:
    """No file holds the path of the folder it happens to lie in."""
    assert _holding([f"{tree.root}/"]) == []


def test_no_registry_host_is_in_the_tree() -> None:
    """Where packages come from is the machine's affair; only Cargo writes it into its lock."""
    assert _holding(_REGISTRY_HOSTS, but=frozenset({"rust/Cargo.lock"})) == []


def test_the_search_finds_words() -> None:
    """The search through the tree finds what is in it."""
    assert "LICENSE: Apache License" in _holding(["Apache License"])


def test_the_continuous_integration_runs_the_readme() -> None:
    """`.ci/run` runs the command that the README gives, and nothing else."""
    commands = [
        line
        for line in tree.text(Path(".ci/run")).splitlines()
        if not line.startswith(("#", "set", "cd"))
    ]
    assert commands == ["exec make test"]
    assert "make test" in tree.text(Path("README.md"))


def test_stamps_know_when_an_input_changed(tmp_path: Path) -> None:
    """A step of the set-up is done again exactly when one of its inputs changed."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    script = f"""
    source {tree.root}/setup/step.sh
    echo one >input && fresh step "$(inputs_hash input)" && echo too early
    stamp step "$(inputs_hash input)" && fresh step "$(inputs_hash input)" && echo done
    echo two >input && fresh step "$(inputs_hash input)" && echo too late
    true
    """
    said = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert said.stdout == "done\n"


def test_what_shares_a_fixture_runs_in_one_worker(tmp_path: Path) -> None:
    """Marked as a group, tests run in one process; else the whole grid would be made in each."""
    (tmp_path / "test_group.py").write_text(
        "import os, pathlib, pytest\n"
        "@pytest.mark.xdist_group('one')\n"
        "@pytest.mark.parametrize('number', range(6))\n"
        "def test_worker(number):\n"
        "    pathlib.Path(os.environ['PYTEST_XDIST_WORKER']).touch()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "."]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert len(list(tmp_path.glob("gw*"))) == 1
