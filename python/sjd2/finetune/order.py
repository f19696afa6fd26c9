"""Which picture stands where, with or without its caption, and with which noise: a function of the position alone.

Position g counts the examples of a run, whatever the number of processes and the size of their batches. Epoch g // n is
a permutation of all n pictures by (seed, epoch).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SHUFFLE, DROP, HELD_OUT = 3, 4, 5  # keep the draws apart
LONGEST = 2**40  # examples of a run, so that the seeds of noise of different runs do not meet


class Example(NamedTuple):
    """Number of the picture, whether its caption is dropped, and the seed of its noise."""

    picture: int
    dropped: bool
    seed: int


class Order:
    """The examples of a run.

    Args:
        pictures: numbers of the pictures to go through.
        seed: 0 .. 2^22 - 1.
        drop: share of examples without their caption.

    Raises: ValueError without pictures, or for another seed.
    """

    def __init__(self, pictures: npt.NDArray[np.int64], seed: int = 0, drop: float = 0.1):
        if len(pictures) == 0:
            raise ValueError("finetune: no picture is left to train on; give more pictures, or a smaller --held-out")
        if not 0 <= seed < 2**22:
            raise ValueError(f"finetune: seed must be in 0..{2**22 - 1}, got {seed}")
        self.pictures, self.seed, self.drop = pictures, seed, drop
        self._epoch = lru_cache(2)(lambda epoch: shuffled(len(pictures), seed, epoch))

    def __getitem__(self, position: int) -> Example:
        """The example at position 0, 1, ..."""
        epoch, place = divmod(position, len(self.pictures))
        word = np.random.Philox(key=[self.seed, DROP], counter=[0, position, 0, 0]).random_raw()
        dropped = (int(word) >> 11) * 2.0**-53 < self.drop
        return Example(int(self.pictures[self._epoch(epoch)[place]]), dropped, self.seed * LONGEST + position)


def shuffled(n: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """0 .. n - 1 in the order of an epoch, the same in every version of numpy."""
    words = np.random.Philox(key=[seed, SHUFFLE], counter=[0, epoch, 0, 0]).random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int64)


def split(n: int, held_out: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """0 .. n - 1 as what is trained on and what is held out, drawn at random, the same for every run of the same data.

    Example:
        >>> train, held_out = split(10, 3)
        >>> len(train), len(held_out), sorted([*train, *held_out]) == list(range(10))
        (7, 3, True)
    """
    words = np.random.Philox(key=[0, HELD_OUT]).random_raw(n)
    drawn = np.argsort(words, kind="stable").astype(np.int64)
    return np.sort(drawn[held_out:]), np.sort(drawn[:held_out])
