"""What this machine has and lacks, what that means, and the one command that mends each.

Reading the machine and judging what was read are apart, so that every verdict can be tested with
invented readings. It needs nothing but the standard library: `python3 -m
tfgrid.doors.localgrid.doctor` works before anything is installed.

| module | what it holds |
|---|---|
| `readings` | the machine, read and never changed |
| `verdict` | readings -> checks, pure |
"""

from tfgrid.doors.localgrid.doctor.readings import Readings, take
from tfgrid.doors.localgrid.doctor.verdict import Check, Level, examine, packages_missing

__all__ = ["Check", "Level", "Readings", "examine", "packages_missing", "take"]
