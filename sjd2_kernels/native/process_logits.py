"""process_logits on the native CPU kernel (csrc/cpu/process_logits.cpp)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import dense, rows_last
from . import DTYPE_CODES, address, empty, module


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
    B, L, V = cond.shape
    p = empty((B, L, V), torch.float32)
    fresh = torch.empty(B, L, dtype=torch.int64)
    status = torch.empty(B, L, dtype=torch.int32)
    cond = rows_last(cond)
    uncond = None if uncond is None else rows_last(uncond)
    small = [dense(x) for x in (guidance, temperature, top_k, top_p, seed, pos, epoch, forced, done)]
    module().process_logits(
        address(cond), address(uncond), DTYPE_CODES[cond.dtype], *cond.stride()[:2],
        *((0, 0) if uncond is None else uncond.stride()[:2]), *map(address, small), B, L, V,
        address(p), address(fresh), address(status), torch.get_num_threads(),
    )  # fmt: skip
    return p, fresh, status
