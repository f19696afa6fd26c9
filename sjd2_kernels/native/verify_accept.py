"""verify_accept on the native CPU kernel (csrc/cpu/verify_accept.cpp)."""

from __future__ import annotations

from torch import Tensor

from ..layout import dense, rows_last
from . import call


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
    small = map(dense, (seed, pos, fresh, epoch, verifiable, forced, done))
    result: tuple[Tensor, Tensor, Tensor] = call(
        "verify_accept", dense(draft), rows_last(p), rows_last(q), *small, accept=accept, redraw=redraw
    )
    return result
