"""How the process of a server is started.

By the file, not by `-m`, and without `site`: either would load more of Python than the server
needs, which is time until it answers (7 ms for `site` in an environment of its own). And with
memory in large pages, where the kernel has them for who asks
(`/sys/kernel/mm/transparent_hugepage/enabled` says `madvise` or `always`): looking up a key waits
for memory, and each wait in pages of 4 KiB is one for the page's own place too. glibc asks, and
learns that it shall from this variable alone (glibc manual, "Memory Allocation Tunables").
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["PROGRAM", "environment"]

PROGRAM: Final = (sys.executable, "-I", "-S", str(Path(__file__).with_name("__main__.py")))
"""The words before the options. -I: no module comes from the file's folder or the environment."""

_TUNABLES: Final = "GLIBC_TUNABLES"
_LARGE_PAGES: Final = "glibc.malloc.hugetlb"


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server that is started from this one; what it says of pages stays."""
    tunables = given.get(_TUNABLES, "")
    if _LARGE_PAGES in tunables:
        return dict(given)
    asked = f"{_LARGE_PAGES}=1"
    return {**given, _TUNABLES: f"{tunables}:{asked}" if tunables else asked}
