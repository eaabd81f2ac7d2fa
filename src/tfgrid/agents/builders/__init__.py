"""Images from a directory with a small declarative file.

    read(directory)                          image.toml and the files it names, checked
    build(directory, keyring=..., ...)       packages, files, pack, sign, publish; cached by content

| module | what it holds |
|---|---|
| `description` | `image.toml`: what it may say, and errors that name line and nearest spelling |
| `debian` | a root file system from Debian packages |
| `finishing` | what is stripped from the tree and added to it |
| `building` | the whole way to a published image, and the cache that shortens it |
"""

from __future__ import annotations

from tfgrid.agents.builders.building import Built, build
from tfgrid.agents.builders.description import Description, read

__all__ = ["Built", "Description", "build", "read"]
