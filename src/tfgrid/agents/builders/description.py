"""`image.toml`: what an image is made of.

    name = "guestbook-web"
    base = "debian:bookworm"
    packages = ["python3"]
    entrypoint = ["/usr/bin/python3", "/app/guestbook.py"]

Nothing in it is a command: an image is packages, files and a few facts, so that the same inputs
give the same image and everybody can read what is in it. Every key is below; an unknown one is
refused with the nearest spelling.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, field

from tfgrid.core import canonical, errors, limits, store
from tfgrid.core.schema import Name, Value

__all__ = ["CopiedFile", "Description", "User", "inputs", "read"]

file_name: Final = "image.toml"

TreePath = Annotated[str, Meta(pattern=r"\A(/[^/\x00]+)+\Z", max_length=limits.path_bytes_max)]
Argument = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z", max_length=limits.text_chars_max)]
Variable = Annotated[str, Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,127}\Z")]
Package = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9+.-]{1,127}\Z")]


class CopiedFile(Value, frozen=True):
    """A file or directory beside `image.toml` that is copied into the image, owned by root.

    `mode` is for files; directories get 755.
    """

    source: str
    target: TreePath
    mode: Annotated[int, Meta(ge=0, le=0o777)] = 0o644


class User(Value, frozen=True):
    """Who the process runs as; entered in the image's `/etc/passwd` and `/etc/group`."""

    name: Annotated[str, Meta(pattern=r"\A[a-z_][a-z0-9_-]{0,31}\Z")]
    id: Annotated[int, Meta(ge=1, le=65_533)] = 1000


class Description(Value, frozen=True):
    """The content of `image.toml`.

    Attributes:
        name: the image's name.
        base: `debian:SUITE`.
        packages: Debian packages; what they depend on comes along.
        variant: `extract` unpacks packages without running their scripts: smallest, quickest and
            without a shell unless one is asked for. `essential` is a configured Debian.
        entrypoint: the program and its arguments, by absolute path.
        directory: where it starts.
        environment: its variables.
        user: whom it runs as; root of its own user namespace if absent.
        files: what is copied in.
        remove: patterns of paths to leave out, after packages and before files.
        python: modules or scripts whose imports are compiled beforehand, so that they start fast.

    """

    name: Name
    base: Annotated[str, Meta(pattern=r"\Adebian:[a-z]{3,20}\Z")]
    packages: Annotated[tuple[Package, ...], Meta(min_length=1, max_length=256)]
    entrypoint: Annotated[tuple[Argument, ...], Meta(min_length=1, max_length=limits.arguments_max)]
    variant: Literal["extract", "essential"] = "extract"
    directory: Annotated[str, Meta(pattern=r"\A/[^\x00]*\Z", max_length=4096)] = "/"
    environment: Annotated[
        dict[Variable, Argument], Meta(max_length=limits.environment_entries_max)
    ] = field(default_factory=dict)
    user: User | None = None
    files: Annotated[tuple[CopiedFile, ...], Meta(max_length=256)] = ()
    remove: Annotated[tuple[TreePath, ...], Meta(max_length=256)] = ()
    python: Annotated[tuple[TreePath, ...], Meta(max_length=16)] = ()

    @property
    def suite(self) -> str:
        """The Debian suite, such as `bookworm`."""
        return self.base.partition(":")[2]


def read(directory: Path) -> Description:
    """Read and check `directory/image.toml` and that the files it names are there.

    Raises:
        errors.NotFound: TFG-3301, no such file.
        errors.BadInput: TFG-3302 not TOML, TFG-3303 an unknown key, TFG-3304 a value that does not
            fit, TFG-3305 a file that is not there or outside the directory.

    """
    path = directory / file_name
    try:
        data = store.read_at_most(path, limits.document_bytes_max)
        if len(data) > limits.document_bytes_max:
            raise errors.BadInput(
                "TFG-3302", f"more than {limits.document_bytes_max} bytes", where=str(path)
            )
        text = data.decode()
        table = tomllib.loads(text)
    except OSError as fault:
        raise errors.NotFound(
            "TFG-3301", f"cannot read {file_name}: {fault.strerror}", where=str(path),
            hint=f"name a directory that holds {file_name}",
        ) from fault  # fmt: skip
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise errors.BadInput("TFG-3302", f"not TOML: {fault}", where=str(path)) from fault
    _check_keys(table, Description, path, text)
    for key, kind in (("user", User), ("files", CopiedFile)):
        inner = table.get(key, [])
        for one in inner if isinstance(inner, list) else [inner]:
            _check_keys(one if isinstance(one, dict) else {}, kind, path, text)
    try:
        description = msgspec.convert(table, Description)
    except msgspec.ValidationError as fault:
        raise errors.BadInput("TFG-3304", str(fault), where=str(path)) from fault
    inputs(directory, description)
    return description


def _check_keys(table: dict[str, Any], kind: type[msgspec.Struct], path: Path, text: str) -> None:
    known = kind.__struct_fields__
    for key in table:
        if key not in known:
            begun = [name for name in known if name.startswith(key)]
            near = begun or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            found = re.search(rf"(?:^|[{{,])[\s\[]*[\"']?{re.escape(key)}\b", text, re.MULTILINE)
            line = text.count("\n", 0, found.end()) + 1 if found else 1
            raise errors.BadInput(
                "TFG-3303", f"unknown key {key!r}", where=f"{path}:{line}",
                hint=f"write {near[0]!r}" if near else f"use one of {', '.join(known)}",
            )  # fmt: skip


def inputs(directory: Path, description: Description) -> list[tuple[str, int, str]]:
    """Every file that is copied in: its path in the image, mode and SHA-256, in order.

    Raises:
        errors.BadInput: TFG-3305.

    """
    found = list[tuple[str, int, str]]()
    for copied in description.files:
        for source, target in sources(directory, copied):
            found.append((target, copied.mode, canonical.digest(source.read_bytes())))
    return sorted(found)


def sources(directory: Path, copied: CopiedFile) -> list[tuple[Path, str]]:
    """The files that one `files` entry copies, each with its path in the image.

    Raises:
        errors.BadInput: TFG-3305, not there, outside the directory, or neither file nor directory.

    """
    root, source = directory.resolve(), (directory / copied.source).resolve()
    inside = source.is_relative_to(root) and not Path(copied.source).is_absolute()
    if inside and source.is_file():
        return [(source, copied.target)]
    if inside and source.is_dir():
        below = sorted(path for path in source.rglob("*") if path.is_file())
        if all(path.resolve().is_relative_to(root) for path in below):
            return [(p, f"{copied.target}/{p.relative_to(source).as_posix()}") for p in below]
    raise errors.BadInput(
        "TFG-3305", f"{copied.source!r} is not a file or directory beside {file_name}",
        where=str(directory / file_name), hint="copy it there, or correct its name",
    )  # fmt: skip
