"""A training batch and its noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .levels import Teeth

LEVELS = 2  # keeps the draws of levels apart from other uses of the same seeds


@dataclass
class Batch:
    """Sequences of one length of picture; prompts may differ in length.

    Attributes:
        tokens: [B, n] int64, prompt, picture and padding on the right, as model ids.
        prompt: [B] int64, length of the prompt, at least 1.
        level: [B, N] int32, noise level of each image token; 0 is clean.
        seed: [B] int64, of the noise.
        times: [T+1] float32, the time of every level; None where all levels are zero.
    """

    tokens: Tensor
    prompt: Tensor
    level: Tensor
    seed: Tensor
    times: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        tokens, prompt, level, seed = (x.to(device) for x in (self.tokens, self.prompt, self.level, self.seed))
        return Batch(tokens, prompt, level, seed, None if self.times is None else self.times.to(device))

    def take(self, rows: Tensor) -> Batch:
        """The sequences numbered ``rows``."""
        return Batch(self.tokens[rows], self.prompt[rows], self.level[rows], self.seed[rows], self.times)


def clean_batch(tokens: Tensor, prompt: Tensor, N: int, seed: Tensor) -> Batch:
    """Sequences without noise: plain next-token training.

    Args:
        tokens, prompt: from `sequences`. N: image tokens. seed: [B] int64, of the noise that may be added.
    """
    return Batch(tokens, prompt, torch.zeros(len(tokens), N, dtype=torch.int32), seed)


def noisy(batch: Batch, forced: Tensor, times: Tensor, teeth: Teeth, rows: int = 0) -> Batch:
    """``batch`` with levels drawn by each sequence's seed; forced tokens stay clean, as in decoding.

    Args:
        batch: its levels are replaced.
        forced: [N] int64, -1 where the model chooses.
        times: [T+1], the decoding grid.
        teeth: how levels rise and fall.
        rows: at least so many timestep rows, see `padded`.
    """
    N, T = batch.level.shape[1], len(times) - 1
    draws = (np.random.Generator(np.random.Philox(key=[LEVELS, int(seed)])) for seed in batch.seed)
    level = torch.from_numpy(np.stack([teeth.levels(N, T, each) for each in draws]))
    level[:, forced >= 0] = 0
    return replace(batch, level=level, times=padded(times, rows))


def at_time(batch: Batch, forced: Tensor, t: float, rows: int = 0) -> Batch:
    """``batch`` with every token that the model chooses at time ``t``; the other arguments as in `noisy`."""
    level = (forced < 0).int().repeat(len(batch.tokens), 1)
    return replace(batch, level=level, times=padded(torch.tensor([0.0, t]), rows))


def padded(times: Tensor, rows: int) -> Tensor:
    """[T+1] times with unused levels behind them, up to ``rows`` levels: one shape for a compiled step.

    Example:
        >>> padded(torch.tensor([0.0, 0.5]), 3).tolist()
        [0.0, 0.5, 1.0, 1.0]
    """
    return torch.cat([times, times.new_ones(max(0, rows + 1 - len(times)))])
