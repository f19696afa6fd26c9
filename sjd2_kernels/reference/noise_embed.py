"""The forward process: embedding rows moved toward Gaussian noise, (1 - t) * table[token] + t * (mean + std * eps)."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import rng
from .table_rows import table_rows


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
    dtype = torch.float64 if table.dtype == torch.float64 else torch.float32
    position = pos[:, None] + torch.arange(token.shape[1], device=token.device)  # [B, N]
    eps = rng.normals(seed[:, None], position, table.shape[1], dtype)  # [B, N, C]
    noise = mean.to(dtype) + std.to(dtype) * eps

    clean = table_rows(table, token, dtype)
    t = t.to(dtype)[..., None]
    # the test for 0 keeps a clean row's bits, -0 included
    rows = torch.where(t == 0, clean, (1 - t) * clean + t * noise)
    if done is not None:
        rows = torch.where((done != 0)[:, None, None], 0.0, rows)
    return rows.to(table.dtype)
