"""process_logits on the native CUDA kernel (csrc/cuda/process_logits.cu)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import dense, rows_last
from . import launch


def process_logits(
    cond: Tensor,
    uncond: Tensor | None = None,
    guidance: Tensor | None = None,
    temperature: Tensor | None = None,
    top_k: Tensor | None = None,
    top_p: Tensor | None = None,
    seed: Tensor | None = None,
    pos: Tensor | None = None,
    epoch: Tensor | None = None,
    forced: Tensor | None = None,
    done: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """See docs/operators.md, section process_logits."""
    if cond.dtype == torch.float64:  # rounded first, by the contract
        cond, uncond = cond.float(), None if uncond is None else uncond.float()
    B, L, _ = cond.shape
    p = torch.empty(cond.shape, dtype=torch.float32, device=cond.device)
    fresh = torch.empty(B, L, dtype=torch.int64, device=cond.device)
    result = p, fresh, torch.empty(B, L, dtype=torch.int32, device=cond.device)
    uncond = None if uncond is None else rows_last(uncond)
    small = map(dense, (guidance, temperature, top_k, top_p, seed, pos, epoch, forced, done))
    launch("process_logits", cond, rows_last(cond), uncond, *small, *result)
    return result
