"""Do the pictures of two decodings have the same law? A permutation test over pairs of pictures of one prompt.

Pair i holds a picture of either decoding for the same prompt, drawn with different seeds, hence independently. If both
decodings have the same law for each prompt, swapping the two pictures of a pair changes nothing, pair by pair. So the
statistics of the data are compared with those after random swaps, which needs no assumption on the law of pictures,
and holds exactly for any number of pairs:

- bits: the absolute sum of the differences of bits per token, under the law of plain decoding;
- counts: chi-square of the counts of tokens, of pairs side by side, and of pairs one above the other, each put into
  `GROUPS` groups by a fixed hash: sum over groups of (difference of counts)^2 / (sum of counts).

One number comes out: the share of swaps whose better p of the two is at most that of the data. It sees shifts of means
of these statistics over the prompts; laws that differ in something that neither shows pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

GROUPS = 32
SWAPS = 4999
_KEY, _MASK = 0x9E3779B97F4A7C15, 2**64 - 1  # multiplicative hashing


@dataclass(frozen=True)
class Pictures:
    """n pictures of one decoding.

    Attributes:
        bits: [n] bits per token.
        counts: [n, 3 * `GROUPS`] from `group_counts`.
    """

    bits: Sequence[float]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Verdict:
    """p of the test, of each of its statistics alone, and the number of pairs."""

    p: float
    p_bits: float
    p_counts: float
    pairs: int


def group_counts(codes: Tensor) -> list[list[int]]:
    """How many tokens, pairs side by side, and pairs one above the other fall into each group.

    Args:
        codes: [B, height, width] int64.

    Returns: B lists of 3 * `GROUPS` numbers.

    Example:
        >>> import torch
        >>> sum(group_counts(torch.zeros(1, 2, 3, dtype=torch.int64))[0])  # 6 tokens, 4 pairs, 3 pairs
        13
    """
    held = codes.cpu().numpy().astype(np.uint64)
    sides = ((held[:, :, :-1], held[:, :, 1:]), (held[:, :-1], held[:, 1:]))
    words = [held, *(np.uint64(1 << 32) * (first + np.uint64(1)) + second for first, second in sides)]
    return np.concatenate([_histogram(word.reshape(len(held), -1)) for word in words], 1).tolist()


def _histogram(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """[B, n] -> [B, GROUPS]."""
    hashed = words ^ (words >> np.uint64(29))
    with np.errstate(over="ignore"):
        group = ((hashed * np.uint64(_KEY & _MASK)) >> np.uint64(40)) % np.uint64(GROUPS)
    return np.stack([np.bincount(row.astype(np.int64), minlength=GROUPS) for row in group])


def same_law(one: Pictures, other: Pictures, *, swaps: int = SWAPS, seed: int = 0) -> Verdict:
    """Test whether two decodings draw pictures of the same law.

    Args:
        one, other: pictures number i of both are of the same prompt and of different seeds.
        swaps: random swaps of the pairs; p is at least 1 / (swaps + 1).
        seed: of the swaps.

    Returns: small p: the laws differ. Deterministic.

    Raises: ValueError for different numbers of pictures, or none.
    """
    n = len(one.bits)
    if not n or not n == len(other.bits) == len(one.counts) == len(other.counts):
        raise ValueError(
            f"same_law: both must hold the same number of pictures, at least one, got {n} and {len(other.bits)}"
        )
    bits = np.subtract(one.bits, other.bits)
    first, second = np.array(one.counts, float), np.array(other.counts, float)
    total = (first + second).sum(0)
    counts = (first - second)[:, total > 0] / np.sqrt(total[total > 0])
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], (swaps + 1, n))
    sign[0] = 1  # the data
    ranks = [_shares(np.abs(sign @ bits)), _shares(((sign @ counts) ** 2).sum(1))]
    best = np.minimum(*ranks)
    share = float((best <= best[0]).mean())
    return Verdict(share, float(ranks[0][0]), float(ranks[1][0]), n)


def _shares(statistic: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """For each value the share of values that are as large; sums in another order count as equal."""
    values = np.round(statistic / max(float(statistic.max()), 1e-300), 9)
    return (len(values) - np.searchsorted(np.sort(values), values, side="left")) / len(values)
