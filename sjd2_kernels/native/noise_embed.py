"""noise_embed on the CPU: csrc/cpu/noise_embed.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import dense, rows_last
from . import DTYPE_CODES, address, empty, module


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
    (V, C), (B, N) = table.shape, token.shape
    table = rows_last(table)
    small = [dense(x) for x in (token, mean, std, t, seed, pos, done)]
    rows = empty((B, N, C), table.dtype)
    module().noise_embed(
        address(table), *map(address, small), address(rows), B, N, C, V, table.stride(0),
        DTYPE_CODES[table.dtype], torch.get_num_threads(),
    )  # fmt: skip
    return rows
