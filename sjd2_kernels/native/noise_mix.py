"""noise_mix on the CPU: csrc/cpu/noise_mix.cpp."""

from __future__ import annotations

from torch import Tensor

from ..layout import dense, rows_last
from . import call


def noise_mix(
    state: Tensor,
    level: Tensor,
    tokens: Tensor,
    fresh: Tensor,
    shift: Tensor,
    times: Tensor,
    table: Tensor,
    mean: Tensor,
    std: Tensor,
    seed: Tensor,
    pos: Tensor,
    forced: Tensor | None = None,
    n_tokens: Tensor | None = None,
    accept_len: Tensor | None = None,
    done: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See docs/operators.md, section noise_mix."""
    before = map(dense, (level, tokens, fresh, shift, times))
    after = map(dense, (mean, std, seed, pos, forced, n_tokens, accept_len, done))
    result: tuple[Tensor, Tensor, Tensor, Tensor] = call(
        "noise_mix", rows_last(state), *before, rows_last(table), *after
    )
    return result
