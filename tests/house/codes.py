"""Which error codes a syntax tree uses, and with which class."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_CODE = re.compile(r"TFG-[0-9]{4}")


def used(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """Code, line and what it is given to, for every code that stands as a text of its own."""
    given = {
        id(node.args[0]): ast.unparse(node.func).rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and node.args
    }
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and isinstance(node, ast.Constant) and _CODE.fullmatch(value):
            yield value, node.lineno, given.get(id(node), "")


def mentioned(text: str) -> set[str]:
    """Every code that a text mentions, docstrings and comments included."""
    return set(_CODE.findall(text))
