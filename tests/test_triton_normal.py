"""The normals of the Triton kernels: each polynomial against float64, the extreme words, the layout of channels."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from _live import TRITON_DEVICE
from _noise_cases import generator, normals

from sjd2_kernels.triton import normal

N = 4096
UNIT = 2.0**-24


@triton.jit
def _log(x, out, BLOCK: tl.constexpr):
    o = tl.arange(0, BLOCK)
    tl.store(out + o, normal.log_unit(tl.load(x + o)))


@triton.jit
def _circle(x, cosine, sine, BLOCK: tl.constexpr):
    o = tl.arange(0, BLOCK)
    c, s = normal.circle(tl.load(x + o))
    tl.store(cosine + o, c)
    tl.store(sine + o, s)


@triton.jit
def _box_muller(words, first, second, BLOCK: tl.constexpr):
    o = tl.arange(0, BLOCK)
    a, b = normal.box_muller(tl.load(words + o).to(tl.uint32), tl.load(words + BLOCK + o).to(tl.uint32))
    tl.store(first + o, a)
    tl.store(second + o, b)


@triton.jit
def _normals(seed, position, out, start, BLOCK: tl.constexpr):
    tl.store(out + tl.arange(0, BLOCK), normal.normals(tl.load(seed), tl.load(position), start, BLOCK))


def uniforms() -> torch.Tensor:
    """float32 in (0, 1): spread, near 0, near 1, the smallest and the largest that a word gives."""
    u = torch.rand(N, generator=generator(1), dtype=torch.float64)
    u[:1000] = 2 ** (-33 * u[:1000])
    u[1000:2000] = 1 - u[1000:2000] * 1e-3
    u[0], u[1] = 2.0**-33, 1 - UNIT
    return u.float().clamp(2.0**-33, 1 - UNIT)


def test_logarithm() -> None:
    u = uniforms().to(TRITON_DEVICE)
    got = torch.empty_like(u)
    _log[(1,)](u, got, BLOCK=N, enable_fp_fusion=False)
    exact = u.cpu().double().log()
    assert ((got.cpu().double() - exact) / exact).abs().max() < 3 * UNIT


def test_circle() -> None:
    """Relative to the value itself: a cosine near a zero is exact too."""
    turn = uniforms().to(TRITON_DEVICE)
    got = [torch.empty_like(turn) for _ in range(2)]
    _circle[(1,)](turn, *got, BLOCK=N, enable_fp_fusion=False)
    angle = 2 * math.pi * turn.cpu().double()
    for x, exact in zip(got, (angle.cos(), angle.sin()), strict=True):
        assert ((x.cpu().double() - exact) / exact.abs().clamp(min=1e-9)).abs().max() < 4 * UNIT


def test_extreme_words_give_finite_normals() -> None:
    """B8: words 0 and 2**32 - 1 in both places."""
    words = torch.tensor([[0, 0, 2**32 - 1, 2**32 - 1], [0, 2**32 - 1, 0, 2**32 - 1]], device=TRITON_DEVICE)
    got = torch.empty(2, 4, device=TRITON_DEVICE)
    _box_muller[(1,)](words, got[0], got[1], BLOCK=4, enable_fp_fusion=False)
    assert got.isfinite().all()
    assert 6.7 < got.abs().max() < 6.8  # sqrt(66 log 2)


def test_channels_are_laid_out_as_the_contract_says() -> None:
    """Channels 4i to 4i + 3 are cosine and sine of words (0, 1), then of words (2, 3), from any block on."""
    seed, position = torch.tensor([7847 - 2**40], device=TRITON_DEVICE), torch.tensor([2**33 + 5], device=TRITON_DEVICE)
    got = torch.empty(64, device=TRITON_DEVICE)
    _normals[(1,)](seed, position, got, 64, BLOCK=64, enable_fp_fusion=False)
    want = normals(int(seed), int(position), 128)[64:]
    torch.testing.assert_close(got.cpu().double(), want, rtol=1e-6, atol=2e-6)
