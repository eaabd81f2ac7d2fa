"""A grid in one process, one thread and virtual time, from one seed: by hand.

    python -m tests.sim.run SEED [--nodes N] [--story]     replay one seed, and tell what happened
    python -m tests.sim.run --soak COUNT [--first SEED]    many seeds, until one fails

| module | what it holds |
|---|---|
| `virtual` | an event loop whose clock jumps |
| `wires` | the way from a node to the ledger, with faults |
| `nodes` | the real Core-0 around a machine in memory; it may crash, reboot and come back |
| `books` | the ledger and its machine, which loses power between any two acts |
| `people` | farmer, expert, and consumers whose orders and daemons are the real 3Bot |
| `oracle` | the five promises, judged from the ledger's entries and the machines alone |
| `world` | all of them, and the faults that a seed brings |
"""

from __future__ import annotations

import argparse
import sys

from tests.sim.oracle import Broken
from tests.sim.world import Plan, simulate

__all__ = ["main", "plan_of"]


def plan_of(seed: int, *, nodes: int = 0) -> Plan:
    """The size of a seed's run follows from the seed, so that the seed alone replays it."""
    if nodes == 0:
        nodes = 50 if seed % 100 == 0 else 3 + seed % 3
    return Plan(
        seed=seed, nodes=nodes, bots=3 if nodes > 20 else 1, rewrites=seed % 3 == 0
    )  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run what the command line asks; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.run", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int)
    parser.add_argument("--nodes", type=int, default=0)
    parser.add_argument("--story", action="store_true")
    parser.add_argument("--soak", type=int, default=0, metavar="COUNT")
    parser.add_argument("--first", type=int, default=1, metavar="SEED")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        seeds = range(given.seed, given.seed + 1)
    else:
        seeds = range(given.first, given.first + given.soak)
    for seed in seeds:
        try:
            world = simulate(plan_of(seed, nodes=given.nodes))
        except Broken as fault:
            sys.stdout.write(f"{fault}\nreplay: python -m tests.sim.run {seed}\n")
            return 1
        if given.story:
            sys.stdout.write("\n".join(world.oracle.story) + "\n")
        sys.stdout.write(f"seed {seed}: {world.books.ledger.head[1].size} entries, kept\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
