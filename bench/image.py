"""Packing, fetching and checking an image, beside `sha256sum` of the same bytes.

The tree is made for the measurement: files of 4 KiB, 64 KiB and 4 MiB with bytes that compress to
about a half, as programs do. Rates are in content bytes a second, so they compare with one another.
The page cache is warm for all: what is measured is work, not this machine's disk.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.figures import Figure, Report, Sample, judged
from bench.ground import Ground
from bench.meters import in_turns
from tfgrid.capacity import flist
from tfgrid.core.identity import Keyring
from tfgrid.core.rng import SeededRng
from tfgrid.core.transport import MemoryTransport

__all__ = ["make_tree", "measure"]

_SIZES: Final = ((4 * 1024, 512), (64 * 1024, 128), (4 * 1024**2, 6))


def make_tree(folder: Path) -> int:
    """Write files of several sizes; returns how many bytes they have."""
    rng, total = SeededRng("image bench"), 0
    for size, count in _SIZES:
        (folder / f"of-{size}").mkdir(parents=True)
        for number in range(count):
            half = rng.token(size // 2)
            (folder / f"of-{size}" / f"file-{number}").write_bytes(half + bytes(size - len(half)))
            total += size
    return total


def measure(ground: Ground, repeat: int) -> Report:
    """Pack into an empty store, fetch from it and materialise, check again; beside sha256sum."""
    folder = ground.folder / "image"
    size = make_tree(folder / "tree")
    keyring = Keyring.new("publisher", SeededRng("publisher"))
    serial = itertools.count()
    origin = flist.ChunkStore(folder / "origin")
    packed = flist.pack(folder / "tree", origin)
    digest, _ = flist.publish(
        packed, origin, name="bench", keyring=keyring,
        config=flist.Config(arguments=("/bin/true",)),
    )  # fmt: skip
    source = MemoryTransport(flist.Service(origin).handle)
    kept = flist.ImageStore(folder / "kept")
    asyncio.run(kept.ensure(digest, keyring.identity, [source]))

    def pack() -> None:
        target = folder / f"store-{next(serial)}"
        flist.pack(folder / "tree", flist.ChunkStore(target))

    def ensure() -> None:
        store = flist.ImageStore(folder / f"node-{next(serial)}")
        asyncio.run(store.ensure(digest, keyring.identity, [source]))

    def recheck() -> None:
        asyncio.run(kept.recheck(digest))

    ways: dict[str, Callable[[], object]] = {
        "sha256sum": lambda: _sha256sum(folder / "tree"),
        "pack": pack, "ensure": ensure, "recheck": recheck,
    }  # fmt: skip
    samples = in_turns(ways, repeat)
    shutil.rmtree(folder)
    bare = _rate("sha256sum of the same bytes", samples["sha256sum"], size)
    ours = {
        "pack": "image pack: hash, compress, store durably",
        "ensure": "image ensure: fetch, verify, materialise",
        "recheck": "image recheck: every byte and attribute",
    }
    return Report(
        figures=(bare, *(judged(_rate(ours[n], samples[n], size), bare) for n in ours))
    )  # fmt: skip


def _sha256sum(tree: Path) -> None:
    files = [str(path) for path in tree.rglob("*") if path.is_file()]
    subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)


def _rate(name: str, samples: Sequence[Sample], size: int) -> Figure:
    rates = tuple(replace(sample, value=size / sample.value / 1e6) for sample in samples)
    return Figure(name=name, unit="MB/s", samples=rates)
