"""The pages behind `TFG-nnnn`, read offline from the catalogue that comes with the program."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources

__all__ = ["Page", "page", "pages"]


@dataclass(frozen=True, slots=True)
class Page:
    """One error: its short name, what it means and what to do."""

    code: str
    title: str
    meaning: str
    remedy: str


def pages() -> dict[str, Page]:
    """Every page of the catalogue by its code."""
    found: dict[str, Page] = {}
    folder = resources.files("tfgrid.core") / "catalogue"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            for code, entry in tomllib.loads(file.read_text("utf-8")).items():
                found[code] = Page(code, entry["title"], entry["meaning"], entry["remedy"])
    return found


def page(code: str) -> Page | None:
    """The page of one code; `tfg-1203` and `1203` mean `TFG-1203`."""
    digits = code.upper().removeprefix("TFG-")
    return pages().get(f"TFG-{digits}")
