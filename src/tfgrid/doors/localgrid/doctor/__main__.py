"""`python3 -m tfgrid.doors.localgrid.doctor`: the doctor before anything is installed.

With `--packages` it prints only the Debian packages that are missing, on one line.
"""

from __future__ import annotations

import sys
from typing import Final

from tfgrid.doors.localgrid.doctor.readings import take
from tfgrid.doors.localgrid.doctor.verdict import examine, packages_missing

_EXIT_LACKS: Final = 13


def main() -> int:
    """Print every check; 13 if one is blocking."""
    readings = take()
    if "--packages" in sys.argv[1:]:
        print(" ".join(packages_missing(readings)))
        return 0
    checks = examine(readings)
    for check in checks:
        print(f"   {check.level:<9} {check.name:<16} {check.finding}")
        if check.level != "ok":
            print(f"{'':30}{check.means}\n{'':30}mend: {check.cure}")
    return _EXIT_LACKS if any(check.level == "blocking" for check in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
