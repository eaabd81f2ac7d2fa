"""The files of the project: what is tracked, or would be, and is there."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

root = Path(__file__).resolve().parents[2]
source = root / "src"


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project, relative to its root, sorted."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return tuple(sorted(Path(n) for n in set(listed.split("\0")) if n and (root / n).is_file()))


@cache
def text(path: Path) -> str:
    """The text of a file; empty if it is not text."""
    try:
        return (root / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@cache
def python_files(folder: str = "") -> tuple[Path, ...]:
    """Every Python file below a folder of the project."""
    below = Path(folder)
    return tuple(p for p in files() if p.suffix == ".py" and p.is_relative_to(below))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(text(path), str(path))


def module_name(path: Path) -> str:
    """The dotted name of a file below `src`."""
    parts = path.relative_to("src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
