"""nearest_token on the CPU: csrc/cpu/nearest_token.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import dense, rows_last
from . import call


def nearest_token(
    state: Tensor, table: Tensor, bias: Tensor, draft: Tensor | None = None, done: Tensor | None = None
) -> Tensor:
    """See docs/operators.md, section nearest_token."""
    wide = torch.promote_types(state.dtype, torch.promote_types(table.dtype, torch.float32))
    small = map(dense, (bias.to(wide), draft, done))
    result: Tensor = call("nearest_token", rows_last(state), rows_last(table), *small)
    return result
