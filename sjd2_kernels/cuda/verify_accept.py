"""verify_accept on the native CUDA kernel (csrc/cuda/verify_accept.cu)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import dense, rows_last
from . import launch


def verify_accept(
    draft: Tensor,
    p: Tensor,
    q: Tensor,
    seed: Tensor,
    pos: Tensor,
    fresh: Tensor | None = None,
    epoch: Tensor | None = None,
    verifiable: Tensor | None = None,
    forced: Tensor | None = None,
    done: Tensor | None = None,
    *,
    accept: str = "ratio",
    redraw: str = "fresh",
) -> tuple[Tensor, Tensor, Tensor]:
    """See docs/operators.md, section verify_accept."""
    B, L, _ = p.shape
    accept_len = torch.empty(B, dtype=torch.int32, device=p.device)
    tokens = torch.empty(B, L, dtype=torch.int64, device=p.device)
    result = accept_len, tokens, torch.empty(B, L, dtype=torch.float32, device=p.device)
    small = map(dense, (seed, pos, fresh, epoch, verifiable, forced, done))
    launch("verify_accept", p, accept, redraw, dense(draft), rows_last(p), rows_last(q), *small, *result)
    return result
