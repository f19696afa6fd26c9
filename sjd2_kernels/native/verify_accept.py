"""verify_accept on the native CPU kernel (csrc/cpu/verify_accept.cpp)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import dense, rows_last
from . import address, module

_REDRAW_CODES = {"fresh": 0, "couple": 1, "keep": 2}


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
    result = outputs(p)
    numbers, _kept = addressed(
        result, draft, p, q, seed, pos, fresh, epoch, verifiable, forced, done, accept=accept, redraw=redraw
    )
    module().verify_accept(*numbers, torch.get_num_threads())
    return result


def outputs(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """accept_len, tokens, ratio for the kernel to fill."""
    B, L, _ = p.shape
    accept_len = torch.empty(B, dtype=torch.int32, device=p.device)
    tokens = torch.empty(B, L, dtype=torch.int64, device=p.device)
    return accept_len, tokens, torch.empty(B, L, dtype=torch.float32, device=p.device)


def addressed(
    outputs: tuple[Tensor, Tensor, Tensor],
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
) -> tuple[list[int], list[Tensor | None]]:
    """A call as addresses and sizes (csrc/bind_verify_accept.h), and the tensors that must outlive its use."""
    p, q, draft = rows_last(p), rows_last(q), draft.contiguous()
    small = [dense(x) for x in (seed, pos, fresh, epoch, verifiable, forced, done)]
    numbers = [
        address(draft), address(p), address(q), *p.stride()[:2], *q.stride()[:2], *map(address, small),
        accept == "match", _REDRAW_CODES[redraw], *p.shape, *map(address, outputs),
    ]  # fmt: skip
    return numbers, [draft, p, q, *small]
