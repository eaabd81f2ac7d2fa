"""How the process of a server is started.

By the file, not by `-m`: that would load a third more of Python than the server needs, which is
time until it answers.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

__all__ = ["PROGRAM"]

PROGRAM: Final = (sys.executable, "-P", str(Path(__file__).with_name("__main__.py")))
"""The words before the options. -P: no module is taken from the folder of the file."""
