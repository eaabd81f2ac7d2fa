"""The rules of the house, one function each: from a file's path and text to what is wrong with it.

Each rule names the replacement of what it refuses. The rules know nothing of the tree, so that a
canary can show that each of them is able to find something.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

Rule = Callable[[Path, str, ast.Module], Iterator[str]]

function_lines_max = 70
module_lines_max = 500
line_chars_max = 100
folder_names_max = 14

_OPEN_PROMISES = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
_CATCH_ALL = {
    "base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils",
}  # fmt: skip
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

# What is refused everywhere in src, and what to use instead.
_BANNED_CALLS = {
    "eval": "a parser",
    "exec": "a function",
    "__import__": "an import statement",
    "os.system": "a program by argument vector",
    "os.popen": "a program by argument vector",
    "yaml.load": "yaml.safe_load or a loader of our own",
    "tempfile.mktemp": "tempfile.mkdtemp",
}
_RUNNERS = {"run", "call", "check_call", "check_output", "Popen"}
_BANNED_MODULES = {
    "pickle": "msgspec",
    "marshal": "msgspec",
    "shelve": "core.store",
    "logging": "core.log",
}
# What only core may touch: time and chance are arguments.
_BANNED_OUTSIDE_CORE = {
    "time.time": "the clock that was handed in",
    "time.time_ns": "the clock that was handed in",
    "datetime.now": "the clock that was handed in",
    "datetime.utcnow": "the clock that was handed in",
    "datetime.today": "the clock that was handed in",
    "datetime.datetime.now": "the clock that was handed in",
    "date.today": "the clock that was handed in",
    "os.urandom": "the rng that was handed in",
    "uuid.uuid4": "the rng that was handed in",
}
_CHANCE_MODULES = {"random": "the rng that was handed in", "secrets": "the rng that was handed in"}


def _in_source(path: Path, *folders: str) -> bool:
    return path.is_relative_to(Path("src", "tfgrid", *folders))


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def function_length(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """A function that does not fit on a screen is two functions."""
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTION):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > function_lines_max:
                yield f"{node.name} has {lines} lines, the limit is {function_lines_max}"


def module_length(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """A module that is longer than a reading is two modules."""
    lines = text.count("\n")
    if lines > module_lines_max:
        yield f"{lines} lines, the limit is {module_lines_max}"


def line_length(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """Lines fit beside one another."""
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > line_chars_max:
            yield f"line {number} has {len(line)} characters, the limit is {line_chars_max}"


def docstrings(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """Every module, public class and public function says what it is; every test says a fact."""
    if not ast.get_docstring(tree) and (text.strip() or path.name != "__init__.py"):
        yield "the module has no docstring"
    yield from _undocumented(tree, is_test=path.name.startswith("test_"))


def _undocumented(scope: ast.Module | ast.ClassDef, *, is_test: bool) -> Iterator[str]:
    for node in scope.body:
        if not isinstance(node, (*_FUNCTION, ast.ClassDef)) or node.name.startswith("_"):
            continue
        said = ast.get_docstring(node)
        if not said and not _is_variant(node):
            yield f"{node.name} has no docstring"
        elif said and is_test and node.name.startswith("test_") and not _is_fact(said):
            yield f"{node.name}: the docstring of a test is one sentence with a full stop"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node, is_test=is_test)


def _is_variant(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    marks = {_dotted(d).rpartition(".")[2] for d in node.decorator_list}
    return bool(marks & {"overload", "override", "setter", "deleter"})


def _is_fact(said: str) -> bool:
    return "\n\n" not in said and said.rstrip().endswith((".", "?"))


def open_promises(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """What is not done is an issue, not a comment."""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _OPEN_PROMISES.search(line):
            yield f"line {number}: {found[0]}; open an issue instead"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "NotImplementedError":
            yield f"line {node.lineno}: {node.id}; leave out what does not work yet"


def catch_all_names(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """A thing that has no name has no place yet."""
    for part in (*path.parent.parts, path.stem):
        if _CATCH_ALL & set(part.lower().split("_")):
            yield f"{part} says nothing; name what is in it"


def banned_calls(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """Some calls have a better one."""
    if not _in_source(path):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _dotted(node.func)
            if name in _BANNED_CALLS:
                yield f"line {node.lineno}: {name}; use {_BANNED_CALLS[name]}"
            if name == "print" and not _in_source(path, "doors"):
                yield f"line {node.lineno}: print; use core.log, or return it to a door"
            is_run = name.rpartition(".")[2] in _RUNNERS
            shells = (k for k in node.keywords if k.arg == "shell" and is_run)
            if any(not (isinstance(k.value, ast.Constant) and not k.value.value) for k in shells):
                yield f"line {node.lineno}: shell; run programs by argument vector"
    for line, name in _imports(tree):
        if instead := _BANNED_MODULES.get(name.partition(".")[0]):
            yield f"line {line}: {name}; use {instead}"


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((node.lineno, name) for name in _imported(node))


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif node.module and not node.level:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def time_and_chance(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """Time and chance are arguments everywhere but in core, which hands them out."""
    if not _in_source(path) or _in_source(path, "core"):
        return
    uses = [(n.lineno, _dotted(n)) for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    for line, name in uses:
        if instead := _BANNED_OUTSIDE_CORE.get(name):
            yield f"line {line}: {name}; use {instead}"
    for line, name in _imports(tree):
        instead = _BANNED_OUTSIDE_CORE.get(name) or _CHANCE_MODULES.get(name.partition(".")[0])
        if instead:
            yield f"line {line}: {name}; use {instead}"


def exception_handling(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """What is caught has a name, and a programmer's fault is not caught at all."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield f"line {node.lineno}: bare except; name the class"
        elif "AssertionError" in ast.unparse(node.type) and _in_source(path):
            yield f"line {node.lineno}: AssertionError is a programmer's fault; let it through"


def skipped_tests(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """A test is skipped only with the reason said."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _dotted(node) in {
            "pytest.mark.skip", "unittest.skip", "pytest.mark.xfail",
        }:  # fmt: skip
            yield f"line {node.lineno}: {_dotted(node)}; mend it, or skip where the kernel lacks it"


def native_module(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """The native module is a detail of core, and the entry of processes that are native."""
    if not _in_source(path) or _in_source(path, "core") or path.name == "__main__.py":
        return
    for line, name in _imports(tree):
        if name.startswith("tfgrid._native"):
            yield f"line {line}: tfgrid._native; use core"


rules: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        banned_calls,
        catch_all_names,
        docstrings,
        exception_handling,
        function_length,
        line_length,
        module_length,
        native_module,
        open_promises,
        skipped_tests,
        time_and_chance,
    )
}
