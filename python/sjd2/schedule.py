"""Time grids of the window: times[l] is the share of noise at level l, times[0] = 0 (clean), times[T] the start.

    karras     t_l = (a + (l-1)/(T-1) * (b - a))^7, a = 0.002^(1/7), b = 1^(1/7), l = 1..T   (rho = 7)
    edm        the same spacing on sigma in [0.002, 80], mapped by t = sigma / (1 + sigma)
    linear     t_l = l / T

Source: SJD2 App. A states the rectified flow (alpha = 1 - t, sigma = t) and Karras et al.'s spacing with rho = 7; where
that spacing is applied, on t or on sigma, is our reading (karras), the other one is edm.
"""

from __future__ import annotations

import torch
from torch import Tensor

RHO = 7.0
T_MIN, T_MAX = 0.002, 1.0
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
SPACINGS = ("karras", "edm", "linear")


def time_grid(denoise_steps: int, spacing: str = "karras") -> Tensor:
    """The time of every level.

    Args:
        denoise_steps: T, the number of denoising steps of a slot, at least 1.
        spacing: "karras", "edm" or "linear".

    Returns:
        [T+1] float32, rising from 0.

    Raises:
        ValueError: for T < 1 or an unknown spacing.

    Examples:
        >>> time_grid(1).tolist(), time_grid(4, "linear").tolist()
        ([0.0, 1.0], [0.0, 0.25, 0.5, 0.75, 1.0])
    """
    if denoise_steps < 1:
        raise ValueError(f"time_grid: denoise_steps must be at least 1, got {denoise_steps}")
    if spacing == "karras":
        times = _karras(denoise_steps, T_MIN, T_MAX)
    elif spacing == "edm":
        sigma = _karras(denoise_steps, SIGMA_MIN, SIGMA_MAX)
        times = sigma / (1 + sigma)
    elif spacing == "linear":
        times = torch.arange(1, denoise_steps + 1, dtype=torch.float64) / denoise_steps
    else:
        raise ValueError(f"time_grid: spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
    return torch.cat([torch.zeros(1, dtype=torch.float64), times]).float()


def _karras(steps: int, low: float, high: float) -> Tensor:
    """``steps`` values from low to high, equally spaced in value^(1/rho); one step is ``high``."""
    if steps == 1:
        return torch.tensor([high], dtype=torch.float64)
    a, b = low ** (1 / RHO), high ** (1 / RHO)
    return (a + torch.arange(steps, dtype=torch.float64) / (steps - 1) * (b - a)) ** RHO
