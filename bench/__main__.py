"""Run benchmarks and print their tables.

python -m bench [NAME...] [--repeat N] [--json FILE]

Needs root, as a grid does. Whatever happens, the grid that a run makes is purged at its end. Exits
with 1 if a figure misses its target.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import container, history, image, ledger, page, planner, rest, start, table, zdb
from bench.figures import Report
from bench.ground import Ground
from tfgrid.core import errors

BENCHMARKS: Final[dict[str, Callable[[Ground, int], Report]]] = {
    # What is measured at rest comes before what leaves heat behind.
    "rest": rest.measure,
    "start": start.measure,
    "page": page.measure,
    "history": history.measure,
    "container": container.measure,
    "image": image.measure,
    "ledger": ledger.measure,
    "planner": planner.measure,
    "zdb": zdb.measure,
}


def machine() -> dict[str, str]:
    """The kind of machine, for whoever compares."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processors": str(os.cpu_count()),
        "memory": f"{memory} MiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def main(arguments: list[str]) -> int:
    """Run what is named, or everything."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--repeat", type=int, default=10, help="samples of each (default: 10)")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}, but {', '.join(BENCHMARKS)}")
    about = machine()
    print("  ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    reports: dict[str, Report] = {}
    with Ground() as ground:
        for name in [n for n in BENCHMARKS if n in asked.names or not asked.names]:
            reports[name] = BENCHMARKS[name](ground, asked.repeat)
            print(f"\n{name}\n{table.figures_text(reports[name].figures)}", flush=True)
            if reports[name].tables:
                print(f"\n{table.tables_text(reports[name].tables)}", flush=True)
    if asked.json:
        asked.json.write_text(table.as_json(reports, about), encoding="utf-8")
    missed = [f.name for r in reports.values() for f in r.figures if f.met is False]
    print(f"\nmissed: {', '.join(missed)}" if missed else "\nevery target is met")
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except errors.GridError as fault:
        sys.exit(f"{fault.code} {fault.what}")
