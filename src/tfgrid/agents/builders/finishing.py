"""From a tree of packages to the tree of an image: what goes, what is added.

The tree is full of links that are right inside the image and wrong on this machine. So nothing here
writes or removes through a link: every path is checked component by component first.
"""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Final

from tfgrid.agents.builders import debian
from tfgrid.agents.builders.description import Description, User, sources
from tfgrid.core import errors

__all__ = ["finish"]

_STRIPPED: Final = (
    "/dev/*", "/etc/apt/apt.conf.d/99mmdebstrap", "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/*", "/etc/hostname", "/etc/resolv.conf", "/etc/machine-id", "/run/*",
    "/tmp/*",  # noqa: S108 - of the image
    "/usr/share/doc/*/*", "/usr/share/info", "/usr/share/lintian",
    "/usr/share/locale", "/usr/share/man", "/var/cache/*/*", "/var/lib/apt/lists",
    "/var/lib/dpkg/*-old", "/var/log/*",
)  # fmt: skip
_KEPT: Final = "copyright"  # of each package: who passes on software passes on its licence
_MOUNT_POINTS: Final = {"dev": 0o755, "proc": 0o755, "run": 0o755, "sys": 0o755, "tmp": 0o1777}
_MADE_BY_RUNTIME: Final = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
_NOLOGIN: Final = "/usr/sbin/nologin"

_COMPILE: Final = """
import py_compile, runpy, sys
sys.dont_write_bytecode = True
for path in sys.argv[1:]:
    sys.path.insert(0, path.rpartition("/")[0])
    runpy.run_path(path, run_name="compiled")
files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
for file in sorted(file for file in files if file.endswith(".py")):
    py_compile.compile(
        file, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
"""


def finish(directory: Path, description: Description, tree: Path) -> None:
    """Strip the tree, add users and files, compile what is to be compiled.

    Raises:
        errors.BadInput: TFG-3305 a file to copy is not there, TFG-3309 the program is not in the
            image, TFG-3311 a target leads through a link.
        errors.Failed: TFG-3310, the compilation.

    """
    for pattern in (*_STRIPPED, *description.remove):
        _remove(tree, pattern)
    for name, mode in _MOUNT_POINTS.items():
        (tree / name).mkdir(exist_ok=True)
        (tree / name).chmod(mode)
    for path in _MADE_BY_RUNTIME:
        _target(tree, path).write_bytes(b"")
    _add_users(tree, description.user)
    for copied in description.files:
        for source, path in sources(directory, copied):
            target = _target(tree, path)
            shutil.copyfile(source, target, follow_symlinks=False)
            target.chmod(copied.mode)
    if description.python:
        _compile(tree, description)
    _check_program(tree, description)


def _remove(tree: Path, pattern: str) -> None:
    for found in sorted(tree.glob(pattern.lstrip("/"))):
        relative = found.relative_to(tree)
        if _through_link(tree, relative) or relative.parts[-1] == _KEPT:
            continue
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        else:
            found.unlink()


def _through_link(tree: Path, relative: Path | PurePosixPath) -> bool:
    parents = [tree / parent for parent in relative.parents]
    return ".." in relative.parts or any(parent.is_symlink() for parent in parents)


def _target(tree: Path, path: str) -> Path:
    relative = PurePosixPath(path).relative_to("/")
    if _through_link(tree, relative) or (tree / relative).is_symlink():
        raise errors.BadInput(
            "TFG-3311", f"{path} leads through a link in the image", where=path,
            hint="write the path that the link stands for, such as /usr/bin for /bin",
        )  # fmt: skip
    target = tree / relative
    for parent in reversed(relative.parents):
        if not (tree / parent).exists():
            (tree / parent).mkdir(mode=0o755)
            (tree / parent).chmod(0o755)
    return target


def _add_users(tree: Path, user: User | None) -> None:
    users = [("root", 0, "/root"), ("nobody", 65_534, "/nonexistent")]
    users += [(user.name, user.id, "/")] if user else []
    tables = {
        "/etc/passwd": [f"{name}:x:{i}:{i}:{name}:{home}:{_NOLOGIN}" for name, i, home in users],
        "/etc/group": [f"{name}:x:{i}:" for name, i, _ in users],
    }
    for path, lines in tables.items():
        target = _target(tree, path)
        there = target.read_text().splitlines() if target.exists() else []
        known = {line.split(":")[0] for line in there}
        added = [line for line in lines if line.split(":")[0] not in known]
        target.write_text("".join(f"{line}\n" for line in there + added))
        target.chmod(0o644)


def _compile(tree: Path, description: Description) -> None:
    argv = [
        "unshare", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--propagation",
        "private", "--", "chroot", str(tree), "/usr/bin/python3", "-c", _COMPILE,
        *description.python,
    ]  # fmt: skip
    code, last = debian.run(argv, on_line=lambda _: None)
    if code != 0:
        raise errors.Failed(
            "TFG-3310", f"compiling ended with {code}: {' / '.join(last[-3:])}",
            where=", ".join(description.python),
            hint="hold that the packages include python3 and that importing starts nothing",
        )  # fmt: skip


def _check_program(tree: Path, description: Description) -> None:
    program = description.entrypoint[0]
    path, steps = program, 0
    while path.startswith("/") and steps < 40:  # the kernel's own bound on links
        parts = PurePosixPath(path).parts[1:]
        for count in range(1, len(parts) + 1):
            here = tree.joinpath(*parts[:count])
            if here.is_symlink():
                path = str(PurePosixPath("/", *parts[: count - 1]) / here.readlink())
                path = _normal(PurePosixPath(path, *parts[count:]))
                break
        else:
            if (tree / path.lstrip("/")).is_file() and ".." not in parts:
                return
            break
        steps += 1
    raise errors.BadInput(
        "TFG-3309", f"the program {program} is not in the image", where=description.name,
        hint="name it by absolute path, and the package that brings it",
    )  # fmt: skip


def _normal(path: PurePosixPath) -> str:
    parts = list[str]()
    for part in path.parts[1:]:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/" + "/".join(parts)
