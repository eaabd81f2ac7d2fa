"""The process of a server: `python -m tfgrid.capacity.zdb OPTIONS...` (`--help` lists them).

It loads nothing but the native module, so that a server is as small as if there were no Python.
"""

from __future__ import annotations

import sys

from tfgrid import _native

if __name__ == "__main__":
    sys.exit(_native.zdb_main(sys.argv[1:]))
