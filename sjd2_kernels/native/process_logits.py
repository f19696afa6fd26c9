"""process_logits on the native CPU kernel (csrc/cpu/process_logits.cpp)."""

from __future__ import annotations

from torch import Tensor

from ..layout import dense, rows_last
from . import call


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
    uncond = None if uncond is None else rows_last(uncond)
    small = map(dense, (guidance, temperature, top_k, top_p, seed, pos, epoch, forced, done))
    result: tuple[Tensor, Tensor, Tensor] = call("process_logits", rows_last(cond), uncond, *small)
    return result
