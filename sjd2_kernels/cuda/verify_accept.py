"""verify_accept on the native CUDA kernel (csrc/cuda/verify_accept.cu)."""

from __future__ import annotations

from torch import Tensor

from ..native.verify_accept import addressed, outputs
from . import module, place


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
    module().verify_accept(*numbers, *place(p))
    return result
