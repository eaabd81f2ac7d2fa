"""Every package has a front door, and everybody uses it."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.house import doors, tree


@cache
def _packages() -> dict[str, Path]:
    return {tree.module_name(p): p for p in tree.python_files("src") if p.name == "__init__.py"}


def _all_of(path: Path) -> list[str]:
    for node in tree.tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed: list[str] = ast.literal_eval(node.value)
            return listed
    return []


@cache
def _exported() -> dict[str, frozenset[str]]:
    modules = {tree.module_name(p): frozenset[str]() for p in tree.python_files("src")}
    return modules | {name: frozenset(_all_of(path)) for name, path in _packages().items()}


def _findings_in(path: Path) -> Iterator[tuple[int, str]]:
    return doors.findings(
        tree.module_name(path),
        tree.tree(path),
        is_package=path.name == "__init__.py",
        exported=_exported(),
    )


def test_nobody_passes_a_front_door() -> None:
    """No module imports a submodule of another package that the package does not offer."""
    found = [
        f"{path}:{line}: {target}"
        for path in tree.python_files("src")
        for line, target in _findings_in(path)
    ]
    assert not found, "\n".join(found)


_KNOWN = {
    "tfgrid": frozenset[str](),
    "tfgrid.ledger": frozenset[str](),
    "tfgrid.ledger.bcdb": frozenset({"Client"}),
    "tfgrid.ledger.bcdb.client": frozenset[str](),
    "tfgrid.ledger.farm": frozenset[str](),
    "tfgrid.ledger.farm.model": frozenset[str](),
    "tfgrid.core": frozenset({"ids"}),
    "tfgrid.core.ids": frozenset[str](),
}


@pytest.mark.parametrize(
    "code",
    [
        "import tfgrid.ledger.bcdb.client",
        "import tfgrid.ledger.bcdb.client as c",
        "from tfgrid.ledger.bcdb import client",
        "from tfgrid.ledger.bcdb.client import Client",
        "from ..bcdb import client",
        "from ..bcdb.client import Client",
        "from tfgrid.ledger import bcdb\nbcdb.client.Client()",
        "if TYPE_CHECKING:\n    from tfgrid.ledger.bcdb.client import Client",
        "def f():\n    from tfgrid.ledger.bcdb import client",
        "importlib.import_module('tfgrid.ledger.bcdb.client')",
    ],
)
def test_the_probe_finds_every_spelling(code: str) -> None:
    """Each way of passing a front door is found."""
    found = doors.findings(
        "tfgrid.ledger.farm.model", ast.parse(code), is_package=False, exported=_KNOWN
    )
    assert [target for _, target in found] == ["tfgrid.ledger.bcdb.client"]


@pytest.mark.parametrize(
    "code",
    [
        "from tfgrid.ledger import bcdb\nbcdb.Client()",
        "from tfgrid.core import ids",
        "from tfgrid.core.ids import NodeId",
        "from tfgrid.ledger.farm import model",
        "from . import model",
        "from ..bcdb import Client",
        "import json.decoder",
    ],
)
def test_the_probe_lets_guests_in(code: str) -> None:
    """Knocking on the front door is no finding, nor is moving about in one's own house."""
    found = doors.findings(
        "tfgrid.ledger.farm.state", ast.parse(code), is_package=False, exported=_KNOWN
    )
    assert list(found) == []


def test_every_folder_is_a_package() -> None:
    """Every folder of Python files below the root has a front door."""
    folders = {p.parent for p in tree.python_files("src/tfgrid")}
    assert {f for f in folders if not (tree.root / f / "__init__.py").is_file()} == set()


def _order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as the linter sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", sorted(_packages()))
def test_front_doors_say_what_is_behind(name: str) -> None:
    """A package's `__init__` has a docstring and a sorted `__all__` of things that are there."""
    path = _packages()[name]
    listed = _all_of(path)
    assert ast.get_docstring(tree.tree(path)), "no docstring"
    assert "__all__" in tree.text(path)
    assert listed == sorted(set(listed), key=_order)
    package = importlib.import_module(name)
    for entry in listed:
        assert hasattr(package, entry) or importlib.import_module(f"{name}.{entry}")
