"""Which rules a command runs over a ledger, as a name that changes whenever they do.

A view that was kept beside a ledger's entries holds for the rules that made it. Nobody has to
remember to count a version up: the name is the digest of the very sources in which rules can stand.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["rules_version"]

_PACKAGES: Final = ("core", "ledger")


def rules_version(package: Path) -> str:
    """The digest of all modules that judge entries or are used by those, with their names.

    Args:
        package: the directory of `tfgrid`, as it is installed.

    Returns:
        64 hexadecimal digits, or nothing where no sources are installed.

    """
    found = hashlib.sha256()
    count = 0
    for path in sorted(_sources(package)):
        with open(path, "rb") as file:  # noqa: PTH123 - see `_sources`
            data = file.read()
        found.update(f"{os.path.relpath(path, package)} {len(data)}\n".encode())
        found.update(data)
        count += 1
    return found.hexdigest() if count else ""


def _sources(package: Path) -> Iterator[str]:
    # Plain strings: every command walks here before it shows anything.
    for name in _PACKAGES:
        for folder, _, files in os.walk(package / name):
            yield from (f"{folder}/{file}" for file in files if file.endswith(".py"))
