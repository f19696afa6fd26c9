"""Bits per token of finished pictures under the model's own autoregressive law, whatever policy drew them.

One forward pass over prompt and picture gives the law of every token given the ones before it; the laws are processed
as in sampling (guidance, temperature, top-k, top-p). A lossless policy has the bits of plain sampling on average.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import sjd2_kernels

from .. import cache
from ..backbones.base import Attend, Backbone, Prompt
from ..decoder import Sampling
from ..grid import Grid

MOST = 32.0  # bits of a token that the law gives no chance: a lossy policy can draw one outside top-k


@torch.no_grad()
def bits_per_token(
    backbone: Backbone, prompts: Sequence[Prompt], grid: Grid, tokens: Tensor, sampling: Sampling
) -> Tensor:
    """Mean negative log2-likelihood of each picture's free tokens.

    Args:
        backbone: the model.
        prompts: one per picture; with unconditional rows where sampling has guidance.
        grid: the shape of all pictures.
        tokens: [B, N] int64, model ids as generated, forced ones included.
        sampling: how logits become laws.

    Returns: [B] float64, on the CPU.

    Example: see `measure`.
    """
    guided, N, device = sampling.guidance != 1, grid.n_tokens, backbone.device
    rows = [p.cond for p in prompts] + [p.uncond or () for p in prompts if guided]
    M = max(map(len, rows)) + N - 1
    # aligned on the right: the last N rows of every sequence are those before a token
    q_start = torch.tensor([M + 1 - N - len(row) for row in rows], dtype=torch.int32, device=device)
    ids = torch.zeros(len(rows), M, dtype=torch.int64, device=device)
    for line, row, picture in zip(ids, rows, tokens.repeat(1 + guided, 1).to(device), strict=True):
        line[M + 1 - N - len(row) :] = torch.cat([torch.tensor(row, device=device), picture[:-1]])
    positions = (torch.arange(M, device=device) - q_start[:, None]).clamp(min=0)
    k, v = cache.allocate(backbone, len(rows), M)
    hidden = backbone.forward(backbone.rows(ids), positions, Attend(k, v, torch.zeros_like(q_start), q_start))
    free = (grid.forced < 0).to(device)
    logits = backbone.head(hidden[:, -N:][:, free])
    B = len(prompts)
    p, _, _ = sjd2_kernels.process_logits(
        logits[:B], logits[B:] if guided else None, sampling.guidance if guided else None, sampling.temperature,
        sampling.top_k or None, sampling.top_p,
    )  # fmt: skip
    codes = backbone.codes(tokens.to(device), grid).flatten(1)
    drawn = p.gather(-1, codes[..., None])[..., 0].double()
    return -drawn.log2().clamp(min=-MOST).mean(1).cpu()
