"""noise_embed on the CPU: csrc/cpu/noise_embed.cpp."""

from __future__ import annotations

from torch import Tensor

from ..layout import dense, rows_last
from . import call


def noise_embed(
    table: Tensor,
    token: Tensor,
    mean: Tensor,
    std: Tensor,
    t: Tensor,
    seed: Tensor,
    pos: Tensor,
    done: Tensor | None = None,
) -> Tensor:
    """See docs/operators.md, section noise_embed."""
    result: Tensor = call("noise_embed", rows_last(table), *map(dense, (token, mean, std, t, seed, pos, done)))
    return result
