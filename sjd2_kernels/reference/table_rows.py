"""Rows of an embedding table by id, where an id outside the table (-1, "no token") reads as a row of zeros."""

from __future__ import annotations

import torch
from torch import Tensor


def table_rows(table: Tensor, token: Tensor, dtype: torch.dtype) -> Tensor:
    """table[token] in ``dtype``: [..., C]; zeros where token is not in 0..V-1, whatever the table holds."""
    V, C = table.shape
    if V == 0:
        return torch.zeros((*token.shape, C), dtype=dtype, device=table.device)
    inside = (token >= 0) & (token < V)
    return torch.where(inside[..., None], table[token.clamp(0, V - 1)].to(dtype), 0.0)
