"""`docs/security.md` promises tests by name; each must exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.house import tree

_NAMED = re.compile(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`")
_ROWS_MIN = 80


def _named() -> list[tuple[str, str]]:
    return _NAMED.findall(tree.text(Path("docs/security.md")))


def _tests(path: str) -> set[str]:
    if not (tree.root / path).is_file():
        return set()
    nodes = ast.walk(tree.tree(Path(path)))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_security_document_names_exists() -> None:
    """A renamed or deleted test is missed where it was promised."""
    named = _named()
    missing = [f"{path}::{name}" for path, name in named if name not in _tests(path)]
    assert not missing, "\n".join(missing)
    assert len(set(named)) > _ROWS_MIN


def test_every_line_of_the_tables_is_held_by_a_test() -> None:
    """A row about a refusal or an attack without a test is an empty promise."""
    text = tree.text(Path("docs/security.md"))
    tables = text.partition("## What must be refused")[2].partition("## What is not held off")[0]
    rows = [line for line in tables.splitlines() if line.startswith("| ")]
    heads = ("| what", "| no.")
    empty = [row for row in rows if not row.startswith(heads) and not _NAMED.search(row)]
    assert not empty, "\n".join(empty)
