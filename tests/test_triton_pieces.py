"""The device functions that Triton kernels share give the same bits as the PyTorch pieces they are twins of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from _live import TRITON_DEVICE
from torch import Tensor

from sjd2_kernels import arithmetic, rng
from sjd2_kernels.triton import pieces

N = 4096


@triton.jit
def _philox(words):
    c0 = tl.load(words + 0).to(tl.uint32)
    c1 = tl.load(words + 1).to(tl.uint32)
    c2 = tl.load(words + 2).to(tl.uint32)
    c3 = tl.load(words + 3).to(tl.uint32)
    k0 = tl.load(words + 4).to(tl.uint32)
    k1 = tl.load(words + 5).to(tl.uint32)
    w0, w1, w2, w3 = pieces.philox(c0, c1, c2, c3, k0, k1)
    tl.store(words + 0, w0.to(tl.int64))
    tl.store(words + 1, w1.to(tl.int64))
    tl.store(words + 2, w2.to(tl.int64))
    tl.store(words + 3, w3.to(tl.int64))


@triton.jit
def _words(seed, position, epoch, start, out, STREAM: tl.constexpr, BLOCK: tl.constexpr):
    w = pieces.words(tl.load(seed), tl.load(position), STREAM, tl.load(epoch), start, BLOCK)
    tl.store(out + tl.arange(0, BLOCK), w.to(tl.int64))


@triton.jit
def _piece(x, y, out, PIECE: tl.constexpr, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b_x = tl.load(x + o)
    b_y = tl.load(y + o)
    if PIECE == "uniform":
        b = pieces.uniform(b_x.to(tl.uint32))
    elif PIECE == "exponential":
        b = pieces.exponential(b_x)
    elif PIECE == "exp2":
        b = pieces.exp2(b_x)
    elif PIECE == "mass":
        b = pieces.mass(b_x, b_y)
    elif PIECE == "ordered_key":
        b = pieces.ordered_key(b_x)
    else:
        b = pieces.race_time(b_x, b_y)
    tl.store(out + o, b)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter: str, key: str, expected: str) -> None:
    """Random123's known answers of Philox4x32-10."""
    words = torch.tensor([int(x, 16) for x in f"{counter} {key}".split()], device=TRITON_DEVICE)
    _philox[(1,)](words)
    assert [f"{x:08x}" for x in words[:4].tolist()] == expected.split()


@pytest.mark.parametrize("stream", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("seed", "position", "epoch"), [(0, 0, 0), (-5, -1, 2**32 + 7), (2**63 - 1, 2**32 + 3, -1), (7847, 12345, 77)]
)
def test_words_follow_the_counter_layout(seed: int, position: int, epoch: int, stream: int) -> None:
    where = [torch.tensor([x], device=TRITON_DEVICE) for x in (seed, position, epoch)]
    out = torch.empty(64, dtype=torch.int64, device=TRITON_DEVICE)
    _words[(1,)](*where, 128, out, stream, 64)
    assert torch.equal(out, rng.words(where[0], where[1], stream, where[2], 192)[0, 128:])


def run(piece: str, x: np.ndarray, y: np.ndarray | None = None, kind: torch.dtype = torch.float32) -> Tensor:
    y = np.zeros_like(x) if y is None else y
    at = [torch.from_numpy(v).to(TRITON_DEVICE) for v in (x, y)]
    out = torch.empty(len(x), dtype=kind, device=TRITON_DEVICE)
    _piece[(len(x) // N,)](*at, out, piece, N, enable_fp_fusion=False)
    return out.cpu()


def assert_same_bits(got: Tensor, want: Tensor, x: np.ndarray) -> None:
    bad = (got != want).nonzero()[:, 0]
    assert len(bad) == 0, f"at {x[bad[0]]!r}: {got[bad[0]].item()!r}, must be {want[bad[0]].item()!r}"


def test_uniform() -> None:
    word = np.random.default_rng(1).integers(0, 2**32, 4 * N)
    word[:6] = [0, 1, 2, 2**32 - 1, 2**32 - 2, 2**31]
    got = run("uniform", word)
    assert_same_bits(got, rng.uniform(torch.from_numpy(word)), word)
    assert got.min() > 0
    assert got.max() < 1


def test_exponential() -> None:
    random = np.random.default_rng(2)
    u = rng.uniform(torch.from_numpy(random.integers(0, 2**32, 64 * N))).numpy()
    edges = (
        [1 - 2.0**-k for k in range(1, 25)]
        + [2.0**-k for k in range(1, 33)]
        + [1 - 2.0**-k * 0.5**0.5 for k in range(20)]
    )
    u[: len(edges)] = edges
    assert_same_bits(run("exponential", u), arithmetic.exponential(torch.from_numpy(u)), u)


def test_exp2() -> None:
    x = (-70 * np.random.default_rng(3).random(64 * N)).astype(np.float32)
    x[:200] = -np.arange(200) / 2
    x[200] = -np.inf
    assert_same_bits(run("exp2", x), arithmetic.exp2(torch.from_numpy(x)), x)


def test_mass() -> None:
    random = np.random.default_rng(4)
    top = random.normal(0, 30, 32 * N).astype(np.float32)
    score = (top - random.exponential(8, 32 * N)).astype(np.float32)
    score[:N], score[N] = top[:N], -np.inf
    want = arithmetic.mass(torch.from_numpy(score), torch.from_numpy(top)).float()
    assert_same_bits(run("mass", score, top), want, score)


def test_ordered_key() -> None:
    random = np.random.default_rng(5)
    x = random.integers(0, 2**32, 16 * N, dtype=np.uint32).view(np.float32)
    x[:8] = [-np.inf, -3e38, -1e-45, -0.0, 0.0, 1e-45, 3e38, np.inf]
    x[np.isnan(x)] = 1.5
    got = run("ordered_key", x, kind=torch.int32)
    assert torch.equal(got.long() + 2**31, arithmetic.ordered_key(torch.from_numpy(x)))


def _reference_time(u: Tensor, weight: Tensor) -> Tensor:
    time = (arithmetic.exponential(u) / weight).clamp(max=torch.finfo(torch.float32).max)
    return torch.where(weight > 0, time, torch.inf)


def test_race_time() -> None:
    """Round-to-nearest division; finite for denormal weights, infinite without a weight."""
    random = np.random.default_rng(6)
    u = rng.uniform(torch.from_numpy(random.integers(0, 2**32, 32 * N))).numpy()
    weight = random.exponential(1, 32 * N).astype(np.float32) ** 8
    weight[:9] = [0.0, -0.0, -1.0, np.nan, 1e-45, 1e-39, 3e38, np.inf, -np.inf]
    want = _reference_time(torch.from_numpy(u), torch.from_numpy(weight))
    assert_same_bits(run("race_time", u, weight), want, weight)
