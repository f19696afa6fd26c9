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
    B, L, V = p.shape
    accept_len = torch.empty(B, dtype=torch.int32)
    tokens = torch.empty(B, L, dtype=torch.int64)
    ratio = torch.empty(B, L, dtype=torch.float32)
    p, q, draft = rows_last(p), rows_last(q), draft.contiguous()
    small = [dense(x) for x in (seed, pos, fresh, epoch, verifiable, forced, done)]
    module().verify_accept(
        address(draft), address(p), address(q), *p.stride()[:2], *q.stride()[:2], *map(address, small),
        accept == "match", _REDRAW_CODES[redraw], B, L, V, address(accept_len), address(tokens), address(ratio),
        torch.get_num_threads(),
    )  # fmt: skip
    return accept_len, tokens, ratio
