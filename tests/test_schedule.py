"""Time grids: end points, order, spacing, and the lerp that they drive against the paper's literal denoising step."""

from __future__ import annotations

import pytest
import torch
from sjd2.schedule import SPACINGS, T_MIN, time_grid

import sjd2_kernels


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("T", [1, 2, 3, 25, 100])
def test_rises_from_clean_to_the_start(T: int, spacing: str) -> None:
    times = time_grid(T, spacing)
    assert times.dtype == torch.float32
    assert times.shape == (T + 1,)
    assert times[0] == 0
    assert (times.diff() > 0).all()
    assert times[-1] == pytest.approx(80 / 81 if spacing == "edm" else 1.0)


def test_karras_is_linear_in_the_seventh_root() -> None:
    times = time_grid(25).double()
    assert times[1].item() == pytest.approx(T_MIN, rel=1e-6)
    root = times[1:] ** (1 / 7)
    torch.testing.assert_close(root.diff(), root.diff().mean().expand(24), rtol=0, atol=1e-6)
    sigma = time_grid(25, "edm").double()
    root = (sigma[1:] / (1 - sigma[1:])) ** (1 / 7)
    torch.testing.assert_close(root.diff(), root.diff().mean().expand(24), rtol=0, atol=2e-6)


def test_bad_arguments_say_so() -> None:
    with pytest.raises(ValueError, match="denoise_steps must be at least 1, got 0"):
        time_grid(0)
    with pytest.raises(ValueError, match="spacing must be one of karras, edm, linear, got 'cosine'"):
        time_grid(3, "cosine")


@pytest.mark.parametrize("spacing", SPACINGS)
def test_denoising_is_the_papers_equation_three(spacing: str) -> None:
    """e_{l-1} = alpha_{l-1} e0 + sigma_{l-1} / sigma_l (e_l - alpha_l e0); alpha = 1 - t, sigma = t; normalised."""
    T, V, C = 5, 7, 6
    times, draw = time_grid(T, spacing), torch.Generator().manual_seed(1)
    table = torch.randn(V, C, generator=draw, dtype=torch.float64)
    mean, std = table.mean(0).float(), table.std(0).float()
    e = torch.randn(1, T, C, generator=draw, dtype=torch.float64)  # slot j is at level j + 1
    level = torch.arange(1, T + 1, dtype=torch.int32)[None]
    fresh = torch.randint(V, (1, T), generator=draw)
    mixed = sjd2_kernels.noise_mix(mean + std * e, level, fresh, fresh, 0, times, table, mean, std, seed=0, pos=0)[0]
    t, s = times[1:].double()[:, None], times[:-1].double()[:, None]
    clean = (table[fresh] - mean) / std
    literal = (1 - s) * clean + s / t * (e - (1 - t) * clean)
    torch.testing.assert_close((mixed - mean) / std, literal, rtol=1e-6, atol=1e-6)
