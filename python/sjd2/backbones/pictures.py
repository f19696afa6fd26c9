"""From a picture decoder's output to bytes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def to_uint8(pixels: Tensor, mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5)) -> Tensor:
    """[B, 3, height, width] values, ``(x - mean) / std`` of colours in 0..1, -> [B, height, width, 3] uint8, to the
    nearest.

    Example:
        >>> to_uint8(torch.tensor([-2.0, 0.0, 1.0]).view(1, 3, 1, 1)).flatten().tolist()
        [0, 128, 255]
    """
    scale, shift = (torch.tensor(v, dtype=torch.float32, device=pixels.device).view(1, 3, 1, 1) for v in (std, mean))
    colour = (pixels.to(torch.float32) * scale + shift).clamp(0, 1)
    return (colour * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
