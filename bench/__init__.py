"""Figures of tfgrid beside those of its peers, measured in one run: `make bench`.

What is told is wall time and processor time, the median with its spread, and ratios to a peer that
was measured in turns with ours, so that noise meets both. `docs/benchmarks.md` says what each
figure means and what was found.

| module | what it holds |
|---|---|
| `figures` | samples, figures and the bounds they are held to |
| `meters` | clocks, processor time of processes, pinning, ways in turns |
| `table` | figures as text and as JSON |
| `ground` | a grid of its own for a run, and its orders |
| `start` | how long commands take to answer |
| `history` | how long one takes on a ledger of a thousand entries |
| `rest` | what the grid's processes need while nothing happens |
| `page` | from the quorum to the page that answers, and where the time goes |
| `container` | from nothing to a running container, beside bare crun and podman |
| `image` | packing, fetching and checking an image, beside sha256sum |
| `ledger` | entries a second, and how fast a follower verifies them |
| `planner` | a plan over ten thousand nodes |
| `zdb` | Zero-DB beside Redis: rates, durability, memory, restart |
"""

__all__ = [
    "container",
    "figures",
    "ground",
    "history",
    "image",
    "ledger",
    "meters",
    "page",
    "planner",
    "rest",
    "start",
    "table",
    "zdb",
]
