"""What a new slot of a token policy holds, and the law that was drawn from.

random   a uniform draw over the V image ids, stream 4 at (seed, position); law 1/V
left     the image token one position before; above: one row up; law one-hot. Where the source is itself new the one
         before that; where there is none, or it is a forced token, as random.

All uniform draws of a picture are made once, before the first step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sjd2_kernels import rng

from .grid import Grid


def random_tokens(seed: Tensor, count: int, V: int) -> Tensor:
    """Uniform image tokens: [B] seeds -> [B, count] int64, one per position.

    Example:
        >>> bool((random_tokens(torch.tensor([1]), 100, 5) < 5).all())
        True
    """
    position = torch.arange(count, device=seed.device)
    word = rng.words(seed[:, None], position[None], rng.STREAM_INITIAL, 0, 1)[..., 0]
    return (word * V) >> 32


def stride_of(grid: Grid, initial: str) -> int:
    """How many positions back the repeated token stands: 1 for left, a row of the grid for above."""
    if initial == "left" or grid.height < 2:
        return 1 if initial == "left" else grid.n_tokens
    free = (grid.forced < 0).nonzero().flatten()
    return int(free[grid.width] - free[0])


def repeated_tokens(line: Tensor, known: Tensor, position: Tensor, stride: Tensor, V: int) -> tuple[Tensor, Tensor]:
    """The token that each new slot repeats.

    Args:
        line: [B, N+L] int64, the newest token of every position, -1 where there is none.
        known: [B] int64, positions before it hold a token.
        position: [B, L] int64, where the slots stand.
        stride: [B] int64.
        V: number of image ids.

    Returns: token [B, L], and whether it may be used [B, L]; it is not an image token otherwise.
    """
    step = stride[:, None]
    rows_back = torch.div(position - known[:, None] + step, step, rounding_mode="floor")  # at least one
    source = position - step * rows_back.clamp(min=1)
    token = line.gather(1, source.clamp(min=0))
    return token, (source >= 0) & (token >= 0) & (token < V)
