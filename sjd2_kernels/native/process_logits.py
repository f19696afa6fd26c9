"""process_logits on the native CPU kernel (csrc/cpu/process_logits.cpp)."""

from __future__ import annotations

from collections.abc import Callable

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
    result = outputs(cond, empty)
    numbers, _kept = addressed(
        result, cond, uncond, guidance, temperature, top_k, top_p, seed, pos, epoch, forced, done
    )
    module().process_logits(*numbers, torch.get_num_threads())
    return result


def outputs(cond: Tensor, allocate: Callable[..., Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """p, fresh, status for the kernel to fill; p is allocated by ``allocate(shape, dtype=...)``."""
    B, L, V = cond.shape
    p = allocate((B, L, V), dtype=torch.float32)
    fresh = torch.empty(B, L, dtype=torch.int64, device=cond.device)
    return p, fresh, torch.empty(B, L, dtype=torch.int32, device=cond.device)


def addressed(
    outputs: tuple[Tensor, Tensor, Tensor],
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
) -> tuple[list[int], list[Tensor | None]]:
    """A call as addresses and sizes (csrc/bind_process_logits.h), and the tensors that must outlive its use."""
    cond = rows_last(cond)
    uncond = None if uncond is None else rows_last(uncond)
    small = [dense(x) for x in (guidance, temperature, top_k, top_p, seed, pos, epoch, forced, done)]
    strides = (*cond.stride()[:2], *((0, 0) if uncond is None else uncond.stride()[:2]))
    numbers = [
        address(cond), address(uncond), DTYPE_CODES[cond.dtype], *strides, *map(address, small), *cond.shape,
        *map(address, outputs),
    ]  # fmt: skip
    return numbers, [cond, uncond, *small]
