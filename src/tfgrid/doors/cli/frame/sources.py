"""What no flag says: variables, the project's file, a context, the default.

    flag > TFGRID_* > tfgrid.toml > context > default

`tfgrid.toml` is the nearest one upward from the working directory; one that somebody else could
change is passed over, as whoever can write it decides which grid is spoken to, and as whom. A
context is a table of `$XDG_CONFIG_HOME/tfgrid/config.toml`. Which grid is meant is one choice:
whoever names it nearest wins, by its directory or by a context, and the context that won adds its
`as` and `timeout` where nothing nearer says otherwise.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tfgrid.doors.cli.frame.settings import Settings, span_seconds

__all__ = ["config_file", "settle"]

project_name: Final = "tfgrid.toml"
_PROJECT_KEYS: Final = ("grid", "context", "as", "timeout")
_CONTEXT_KEYS: Final = ("grid", "as", "timeout")
_SETTING_OF: Final = {"as": "identity", "timeout": "timeout"}


@dataclass(frozen=True, slots=True)
class _Table:
    """Keys of one file or context, and how it is called when somebody asks where they came from."""

    file: Path
    name: str
    values: Mapping[str, str]


def config_file() -> Path:
    """Where contexts are kept."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "tfgrid" / "config.toml"


def settle(settings: Settings) -> None:
    """Fill in what neither a flag nor a variable said; `settings.origin` says who did.

    Raises:
        errors.BadInput: TFG-5030, a file of settings is malformed; TFG-5001, both flags that name
            a grid were given.
        errors.NotFound: TFG-5008, no such context.

    """
    project = _project()
    context = _settle_grid(settings, project)
    for table in (project, context):
        for key, value in (table.values if table else {}).items():
            name = _SETTING_OF.get(key)
            if table and name and name not in settings.origin:
                settings.origin[name] = table.name
                setattr(settings, name, _value(table, key, value))


def _value(table: _Table, key: str, text: str) -> str | int:
    if key != "timeout":
        return text
    try:
        return span_seconds(text)
    except ValueError as fault:
        raise _malformed(table.file, f"timeout: {text!r} is no span of time") from fault


def _settle_grid(settings: Settings, project: _Table | None) -> _Table | None:
    """Decide which grid is meant; the context that decided it, if one did."""
    from tfgrid.core import errors

    origins = settings.origin
    if "grid" in settings.given and "context" in settings.given:
        raise errors.BadInput(
            "TFG-5001", "--grid and --context both name a grid", hint="give one of them"
        )
    if "grid" in origins and "context" not in settings.given:
        return None
    if "context" not in origins and project is not None and "grid" in project.values:
        settings.grid = str(project.file.parent / project.values["grid"])
        origins["grid"] = project.name
        return None
    if "context" not in origins and project is not None and "context" in project.values:
        settings.context, origins["context"] = project.values["context"], project.name
    contexts, chosen = _contexts()
    if "context" not in origins and chosen:
        settings.context, origins["context"] = chosen, str(config_file())
    if not settings.context:
        return None
    table = _context(settings.context, contexts)
    settings.grid = str(config_file().parent / Path(table.values["grid"]).expanduser())
    origins["grid"] = table.name
    return table


def _context(name: str, known: Mapping[str, _Table]) -> _Table:
    from tfgrid.core import errors

    if name not in known:
        others = f"; there is {', '.join(known)}" if known else ""
        raise errors.NotFound(
            "TFG-5008", f"no context is named {name!r}{others}",
            where=str(config_file()), hint=f'add [context.{name}] with grid = "DIR"',
        )  # fmt: skip
    if "grid" not in known[name].values:
        raise _malformed(config_file(), f"context {name} has no grid")
    return known[name]


def _project() -> _Table | None:
    """The nearest `tfgrid.toml` upward, if nobody else could have written it."""
    try:
        here = Path.cwd()
    except OSError:  # the folder was removed meanwhile
        return None
    for file in (folder / project_name for folder in (here, *here.parents)):
        if file.is_file():
            if not _is_own(file):
                return None
            return _Table(file, str(file), _known_keys(file, _read(file), _PROJECT_KEYS))
    return None


def _is_own(file: Path) -> bool:
    about = file.stat()
    return about.st_uid in {0, os.geteuid()} and not about.st_mode & 0o022


def _contexts() -> tuple[dict[str, _Table], str]:
    """Every context of config.toml by name, and the one that it says to use."""
    file = config_file()
    if not file.is_file():
        return {}, ""
    said = _read(file)
    tables = said.pop("context", {})
    chosen = said.pop("use", "")
    _known_keys(file, said, ("context", "use"))
    if not isinstance(tables, dict) or not isinstance(chosen, str):
        raise _malformed(file, 'a context is a table: [context.NAME], and use = "NAME" chooses one')
    found = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise _malformed(file, f"context {name} is no table")
        values = _known_keys(file, table, _CONTEXT_KEYS)
        found[name] = _Table(file, f"context {name} of {file}", values)
    return found, chosen


def _read(file: Path) -> dict[str, Any]:
    import tomllib

    from tfgrid.core import limits, store

    try:
        return tomllib.loads(store.read_at_most(file, limits.document_bytes_max).decode())
    except ValueError as fault:
        raise _malformed(file, str(fault)) from fault


def _known_keys(file: Path, table: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, str]:
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f", did you mean {near[0]}?" if near else f", but {', '.join(known)}"
            raise _malformed(file, f"there is no key {key!r}{meant}")
        if not isinstance(value, str):
            raise _malformed(file, f"{key} must be text in quotes")
    return dict(table)


def _malformed(file: Path, what: str) -> Exception:
    from tfgrid.core import errors

    return errors.BadInput(
        "TFG-5030", f"{file.name}: {what}", where=str(file),
        hint=f"mend {file}, or move it away",
    )  # fmt: skip
