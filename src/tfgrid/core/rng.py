"""Chance as an argument.

Keys and nonces come from the system; a test or simulation hands in a generator made from a seed,
and a failure is replayed from that seed.
"""

from __future__ import annotations

import os
import random
from typing import Protocol

__all__ = ["Rng", "SeededRng", "SystemRng"]


class Rng(Protocol):
    """A source of random bytes and numbers."""

    def token(self, count: int) -> bytes:
        """`count` random bytes."""
        ...

    def below(self, bound: int) -> int:
        """A random integer from 0 up to, not including, `bound`."""
        ...


class SystemRng:
    """The kernel's generator: for keys, nonces and jitter."""

    def token(self, count: int) -> bytes:
        """See `Rng.token`."""
        return os.urandom(count)

    def below(self, bound: int) -> int:
        """See `Rng.below`."""
        return random.SystemRandom().randrange(bound)


class SeededRng:
    """A reproducible generator for tests and simulation; never for keys that protect anything."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose

    def token(self, count: int) -> bytes:
        """See `Rng.token`."""
        return self._random.randbytes(count)

    def below(self, bound: int) -> int:
        """See `Rng.below`."""
        return self._random.randrange(bound)

    def chance(self, probability: float) -> bool:
        """Whether an event of this probability happens now."""
        return self._random.random() < probability
