"""The process of a server: `python -m tfgrid.capacity.zdb OPTIONS...` (`--help` lists them).

It loads nothing but the native module, so that a server is as small as if there were no Python.
`launch` starts it by this file and without `site`, so that it must find its own package.
"""

from __future__ import annotations

import sys

if not __package__:
    sys.path.insert(0, __file__.rsplit("/", 4)[0])

from tfgrid import _native

if __name__ == "__main__":
    sys.exit(_native.zdb_main(sys.argv[1:]))
