"""Who may look at whom in `[timesteps 1 .. T | prompt | image tokens]`.

Causal among the sequence's rows; a timestep sees itself only; a noisy row also sees the timestep of its own level.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def row_levels(level: Tensor, prompt: Tensor, n: int) -> Tensor:
    """[B, N] levels of image tokens -> [B, n] levels of rows; prompt and padding are clean."""
    at = torch.arange(n, device=level.device) - prompt[:, None]
    inside = (at >= 0) & (at < level.shape[1])
    return torch.where(inside, level.gather(1, at.clamp(0, level.shape[1] - 1)), 0)


def dense_mask(level: Tensor, T: int) -> Tensor:
    """[B, n] levels -> [B, 1, T+n, T+n] bool, True where a row may look.

    Example:
        >>> dense_mask(torch.tensor([[0, 2]]), 2)[0, 0].int().tolist()
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 1]]
    """
    B, n = level.shape
    step = torch.arange(T, device=level.device)
    mask = level.new_zeros(B, T + n, T + n, dtype=torch.bool)
    mask[:, :T, :T] = torch.eye(T, dtype=torch.bool, device=level.device)
    mask[:, T:, :T] = level[..., None] == step + 1
    mask[:, T:, T:] = torch.ones(n, n, dtype=torch.bool, device=level.device).tril()
    return mask[:, None]


def block_mask(level: Tensor, T: int) -> Any:
    """`dense_mask` as a block mask of FlexAttention, which never holds all pairs in the attention itself."""
    from torch.nn.attention.flex_attention import create_block_mask

    B, n = level.shape

    def may_look(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        own = level[b, (q - T).clamp(min=0)] == k + 1
        return torch.where(q < T, k == q, torch.where(k < T, own, k <= q))

    return create_block_mask(may_look, B, None, T + n, T + n, device=str(level.device))
