"""The space the noise lives in: the scale of the embeddings over the vocabulary, and timesteps as tokens of the same
scale.

SJD2 section 4.3 and Fig. 5: embeddings are normalised by mean and standard deviation over the vocabulary (without that
the method fails completely), and timestep encodings get the same treatment. Ours where the paper is silent: the
sinusoid is that of 1000 * t with maximal period 10,000, standardised over its channels before it is de-normalised.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CHUNK = 8192  # rows per partial sum: 256 MiB of float64 at C = 4096


def vocabulary_mean_std(table: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel over the rows of an embedding table.

    Args:
        table: [V_all, C], any floating dtype.

    Returns: mean [C], std [C], float32; the variance divides by V_all. Accumulated in float64, in chunks of rows, in
        two passes.

    Example:
        >>> vocabulary_mean_std(torch.tensor([[0.0, 1.0], [2.0, 5.0]]))
        (tensor([1., 3.]), tensor([1., 2.]))
    """
    rows = table.detach().split(CHUNK)
    mean = sum(part.to(torch.float64).sum(0) for part in rows) / len(table)
    variance = sum((part.to(torch.float64) - mean).square_().sum(0) for part in rows) / len(table)
    return mean.to(torch.float32), variance.sqrt().to(torch.float32)


def timestep_embedding(times: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The input row of each level's timestep token.

    Args:
        times: [T+1], the time of each level in [0, 1].
        mean, std: [C], of the embeddings over the vocabulary.

    Returns: [T+1, C] float32 (float64 if times is): ``mean + std * standardised(cos, sin of 1000 t * 10000^(-i /
        (C/2)))``.

    Source: SJD2 section 4.3; width, period and standardisation are ours.

    Example:
        >>> row = timestep_embedding(torch.tensor([0.5]), torch.zeros(8), torch.ones(8))
        >>> abs(float(row.mean())) < 1e-6 and abs(float(row.std(correction=0)) - 1) < 1e-6
        True
    """
    real = torch.float64 if times.dtype == torch.float64 else torch.float32
    C = mean.numel()
    half = C // 2
    frequency = torch.exp(-math.log(10_000.0) * torch.arange(half, device=times.device, dtype=torch.float64) / half)
    angle = 1000.0 * times.to(torch.float64)[:, None] * frequency
    wave = torch.cat([angle.cos(), angle.sin(), angle.new_zeros(len(times), C % 2)], dim=-1)
    wave = (wave - wave.mean(-1, keepdim=True)) / wave.std(-1, correction=0, keepdim=True)
    return (mean.to(torch.float64) + std.to(torch.float64) * wave).to(real)
