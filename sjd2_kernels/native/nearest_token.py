"""nearest_token on the CPU: csrc/cpu/nearest_token.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import dense, rows_last
from . import DTYPE_CODES, address, empty, module


def nearest_token(
    state: Tensor, table: Tensor, bias: Tensor, draft: Tensor | None = None, done: Tensor | None = None
) -> Tensor:
    """See docs/operators.md, section nearest_token."""
    (B, L, C), V = state.shape, table.shape[0]
    wide = torch.promote_types(state.dtype, torch.promote_types(table.dtype, torch.float32))
    state, table = rows_last(state), rows_last(table)
    small = [dense(x) for x in (bias.to(wide), draft, done)]
    token = torch.empty((B, L), dtype=torch.int64)

    native = module()
    lanes = -(B * L // -native.NEAREST_LANES) * native.NEAREST_LANES
    blocks = -(V // -native.NEAREST_BLOCK)
    active = torch.empty(B * L, dtype=torch.int64)
    panels = empty((lanes * C,), wide)
    best, winner = empty((blocks * lanes,), wide), empty((blocks * lanes,), torch.int64)
    native.nearest_token(
        address(state), address(table), *map(address, small), address(token),
        address(active), address(panels), address(best), address(winner),
        B, L, C, V, state.stride(0), state.stride(1), table.stride(0),
        DTYPE_CODES[state.dtype], DTYPE_CODES[table.dtype], torch.get_num_threads(),
    )  # fmt: skip
    return token
