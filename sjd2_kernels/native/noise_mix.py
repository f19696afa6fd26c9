"""noise_mix on the CPU: csrc/cpu/noise_mix.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import dense, rows_last
from . import DTYPE_CODES, address, empty, module


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
    B, L, C = state.shape
    state, table = rows_last(state), rows_last(table)
    before = [dense(x) for x in (level, tokens, fresh, shift, times)]
    after = [dense(x) for x in (mean, std, seed, pos, forced, n_tokens, accept_len, done)]
    new_state = empty((B, L, C), state.dtype)
    new_level = torch.empty((B, L), dtype=torch.int32)
    draft = torch.empty((B, L), dtype=torch.int64)
    rows = empty((B, L, C), table.dtype)
    module().noise_mix(
        address(state), *map(address, before), address(table), *map(address, after),
        address(new_state), address(new_level), address(draft), address(rows),
        B, L, C, table.shape[0], times.shape[0] - 1, state.stride(0), state.stride(1), table.stride(0),
        DTYPE_CODES[table.dtype], torch.get_num_threads(),
    )  # fmt: skip
    return new_state, new_level, draft, rows
