"""process_logits on the native CUDA kernel (csrc/cuda/process_logits.cu)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..native.process_logits import addressed, outputs
from . import module, place


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
    result = outputs(cond, partial(torch.empty, device=cond.device))
    numbers, _kept = addressed(
        result, cond, uncond, guidance, temperature, top_k, top_p, seed, pos, epoch, forced, done
    )
    module().process_logits(*numbers, *place(cond))
    return result
