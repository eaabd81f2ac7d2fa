"""The front-door probe: who imports a submodule past its package's front door.

A submodule is public exactly if its package lists it in `__all__`, as `core` does; everything else
is reached through the package. The storeys (`tfgrid.ledger` and its like) are floors, not houses:
whoever may use the floor may knock at any door on it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

storeys = {
    f"tfgrid{tail}"
    for tail in ("", ".agents", ".capacity", ".core", ".doors", ".jumpscale", ".ledger")
}


def findings(
    importer: str, tree: ast.Module, *, is_package: bool, exported: Mapping[str, frozenset[str]]
) -> Iterator[tuple[int, str]]:
    """Line and module of every import by `importer` that passes a front door.

    `exported` has `__all__` of every package, and nothing for every other module, by dotted name.
    """
    names: dict[str, str] = {}
    for line, target, bound in _targets(importer, tree, is_package=is_package, known=set(exported)):
        names[bound] = target
        if _passes_a_door(importer, target, exported):
            yield line, target
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            target = f"{names.get(node.value.id, '')}.{node.attr}"
            if target in exported and _passes_a_door(importer, target, exported):
                yield node.lineno, target


def _passes_a_door(importer: str, target: str, exported: Mapping[str, frozenset[str]]) -> bool:
    parts = target.split(".")
    for depth in range(1, len(parts)):
        package, child = ".".join(parts[:depth]), parts[depth]
        inside = importer == package or importer.startswith(package + ".")
        if package in storeys and package != "tfgrid.core":
            continue
        if not inside and child not in exported.get(package, frozenset()):
            return True
    return False


def _targets(
    importer: str, tree: ast.Module, *, is_package: bool, known: set[str]
) -> Iterator[tuple[int, str, str]]:
    """Line, imported module and the name it is bound to, for every import of a module of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in known:
                    yield node.lineno, alias.name, alias.asname or alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(importer, node, is_package=is_package)
            for alias in node.names:
                longer = f"{origin}.{alias.name}"
                target = longer if longer in known else origin
                if target in known:
                    yield node.lineno, target, alias.asname or alias.name
        elif isinstance(node, ast.Call) and (name := _by_name(node)) in known:
            yield node.lineno, name, ""


def _origin(importer: str, node: ast.ImportFrom, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = importer.split(".")
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _by_name(node: ast.Call) -> str:
    """The module that `importlib.import_module("...")` names, or nothing."""
    called = ast.unparse(node.func)
    if called.rpartition(".")[2] != "import_module" or not node.args:
        return ""
    first = node.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
