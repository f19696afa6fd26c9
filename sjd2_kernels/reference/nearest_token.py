"""The nearest vocabulary token of each window slot: argmax over v of state . table[v] + bias[v]."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_token(
    state: Tensor, table: Tensor, bias: Tensor, draft: Tensor | None = None, done: Tensor | None = None
) -> Tensor:
    """See docs/operators.md, section nearest_token."""
    dtype = torch.promote_types(state.dtype, torch.promote_types(table.dtype, torch.float32))
    scores = state.to(dtype) @ table.to(dtype).T + bias.to(dtype)  # [B, L, V]

    # a NaN never wins, not even against -inf
    number = ~scores.isnan()
    best = torch.where(number, scores, -torch.inf).amax(-1, keepdim=True)
    token = (number & (scores == best)).int().argmax(-1)  # the lowest id; 0 if all are NaN
    if draft is not None:
        token = torch.where(draft >= 0, draft, token)
    if done is not None:
        token = torch.where((done != 0)[:, None], -1, token)
    return token
