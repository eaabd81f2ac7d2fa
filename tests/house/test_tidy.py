"""Taste is a test: the rules of the house hold in every file, and each rule can find something."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tests.house import rules, tree

exceptions_count = 3
"""Raised by hand with each new exception, so that the list never grows quietly."""

_EXCEPTIONS: dict[str, dict[str, str]] = tomllib.loads(
    tree.text(Path("tests/house/exceptions.toml"))
)


@pytest.mark.parametrize("name", rules.rules)
def test_every_file_keeps_the_rule(name: str) -> None:
    """Every Python file keeps the rule, or is a named exception that still needs to be one."""
    excused = _EXCEPTIONS.get(name, {})
    broken: dict[str, list[str]] = {}
    for path in tree.python_files():
        if said := list(rules.rules[name](path, tree.text(path), tree.tree(path))):
            broken[str(path)] = said

    findings = [f"{p}: {s}" for p, said in broken.items() if p not in excused for s in said]
    assert not findings, "\n".join(findings)
    assert set(excused) - set(broken) == set(), "these exceptions are no longer needed"


def test_exceptions_are_counted_and_reasoned() -> None:
    """The list of exceptions has the size that was agreed, and a reason in each line."""
    assert sum(map(len, _EXCEPTIONS.values())) == exceptions_count
    assert set(_EXCEPTIONS) <= {*rules.rules, "folder_names"}
    assert all(reason for table in _EXCEPTIONS.values() for reason in table.values())


def test_folders_hold_few_names() -> None:
    """No folder asks its reader to choose among more than fourteen names."""
    names = Counter(
        parent
        for child in {p for f in tree.files() for p in (f, *f.parents)} - {Path()}
        if (parent := child.parent) != Path()
        and child.name not in {"__init__.py", "conftest.py", "py.typed"}
    )
    crowded = {str(f): n for f, n in names.items() if n > rules.folder_names_max}
    excused = _EXCEPTIONS["folder_names"]
    assert {f: n for f, n in crowded.items() if f not in excused} == {}


_LONG_FUNCTION = 'def f():\n    """F."""\n' + "    x = 1\n" * 70
_CANARIES = [
    ("banned_calls", 'print("x")'),
    ("banned_calls", "import pickle"),
    ("banned_calls", "from pickle import loads"),
    ("banned_calls", "import logging"),
    ("banned_calls", "x = eval('1')"),
    ("banned_calls", "import yaml\nyaml.load('x')"),
    ("banned_calls", "import subprocess\nsubprocess.run('x', shell=True)"),
    ("banned_calls", "import os\nos.system('x')"),
    ("docstrings", "def f():\n    return 1"),
    ("docstrings", "class C:\n    x = 1"),
    ("docstrings", 'class C:\n    """C."""\n    def f(self):\n        return 1'),
    ("exception_handling", "try:\n    x = 1\nexcept:\n    x = 2"),
    ("exception_handling", "try:\n    x = 1\nexcept AssertionError:\n    x = 2"),
    ("function_length", _LONG_FUNCTION),
    ("line_length", "x = '" + "y" * 100 + "'"),
    ("module_length", "x = 1\n" * 501),
    ("native_module", "from tfgrid import _native"),
    ("native_module", "import tfgrid._native"),
    ("open_promises", "x = 1  # {}: later".format("TO" + "DO")),
    ("open_promises", "raise NotImplemented{}".format("Error")),
    ("skipped_tests", "import pytest\n@pytest.mark.skip\ndef test_x(): ..."),
    ("time_and_chance", "import time\nx = time.time()"),
    ("time_and_chance", "from time import time"),
    ("time_and_chance", "import datetime\nx = datetime.datetime.now()"),
    ("time_and_chance", "from datetime import datetime\nx = datetime.now"),
    ("time_and_chance", "import random"),
    ("time_and_chance", "import os\nx = os.urandom(3)"),
]


@pytest.mark.parametrize(("name", "code"), _CANARIES)
def test_each_rule_finds_its_canary(name: str, code: str) -> None:
    """A file that breaks the rule on purpose is found."""
    path = Path("src/tfgrid/agents/zos/canary.py")
    assert list(rules.rules[name](path, code, ast.parse(code)))


@pytest.mark.parametrize("name", ["util", "common", "node_helpers", "manager", "misc", "base"])
def test_catch_all_names_are_found(name: str) -> None:
    """A module or folder with a name that says nothing is found."""
    for path in (Path(f"src/tfgrid/core/{name}.py"), Path(f"src/tfgrid/{name}/x.py")):
        assert list(rules.catch_all_names(path, "", ast.parse("")))


def test_every_rule_has_a_canary_and_lets_good_code_pass() -> None:
    """No rule is without a canary, and none of them refuses plain good code."""
    assert {name for name, _ in _CANARIES} | {"catch_all_names"} == set(rules.rules)
    good = '"""A module."""\n\n\ndef f(clock):\n    """The time."""\n    return clock.now_ms()\n'
    for rule in rules.rules.values():
        assert list(rule(Path("src/tfgrid/agents/good.py"), good, ast.parse(good))) == []
