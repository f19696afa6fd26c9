"""exp2, exponential, ordered keys, masses: the PyTorch pieces, the C++ pieces and the page's restatement agree bit for
bit, and each is as accurate as docs/rng.md says."""

from __future__ import annotations

from collections.abc import Callable

import _oracle as oracle
import numpy as np
import pytest
import torch
from _oracle import from_bits, page_table

from sjd2_kernels import arithmetic, native

UNIT = 2.0**-24


def float_range(low: float, high: float) -> np.ndarray:
    """Every float32 from ``low`` to ``high``, both positive."""
    first, last = (int(np.float32(x).view(np.int32)) for x in (low, high))
    return np.arange(first, last + 1, dtype=np.int32).view(np.float32)


def exp2_inputs() -> np.ndarray:
    """Dense samples of [-70, 0], every float32 near the integers and half-integers, denormals, huge values."""
    random = np.random.default_rng(4)
    near = np.float32(-0.5) * np.arange(131, dtype=np.float32)[:, None]
    steps = np.arange(-40, 41, dtype=np.float32) * np.maximum(np.spacing(np.abs(near)), np.float32(2.0**-60))
    parts = (-70 * random.random(2_000_000), near + steps, -(10.0 ** random.uniform(-44, 38, 100_000)), [-np.inf])
    x = np.concatenate([np.asarray(part, np.float32).ravel() for part in parts])
    return x[x <= 0]


def exponential_inputs() -> np.ndarray:
    """Two million words' uniforms, the ends, and both sides of the places where the logarithm's k changes."""
    random = np.random.default_rng(5)
    word = np.concatenate(
        [random.integers(0, 2**32, 2_000_000), [0, 1, 2, 3, 2**32 - 1, 2**32 - 2], 2 ** np.arange(32)]
    )
    switch = [1 - 2.0**-k * np.sqrt(0.5) for k in range(24)] + [1 - 2.0**-k for k in range(1, 24)]
    near = np.float32(switch)[:, None] + np.arange(-50, 51, dtype=np.float32) * np.float32(UNIT)
    u = np.concatenate(
        [oracle.uniform(word.astype(np.uint32)), near.ravel(), 2.0 ** -np.arange(1, 34, dtype=np.float32)]
    )
    return u[(u > 0) & (u < 1)].astype(np.float32)


def same_everywhere(x: np.ndarray, piece: str, restated: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The PyTorch piece of ``x``, after checking that the restatement and the C++ piece give the same bits."""
    got = getattr(arithmetic, piece)(torch.from_numpy(x)).numpy()
    with np.errstate(over="ignore"):
        others = {"page": restated(x)}
    if native.why_not() is None:
        others["native"] = getattr(native.module(), piece)(x)
    for name, other in others.items():
        bad = np.flatnonzero(got.view(np.int32) != other.view(np.int32))
        assert not len(bad), f"{piece}({x[bad[0]]!r}): {got[bad[0]]!r}, but {name} gives {other[bad[0]]!r}"
    return got


def test_constants_are_those_of_the_page() -> None:
    for title, coefficients in (
        ("The exp2 polynomial", arithmetic.EXP2_COEFFICIENTS),
        ("The log polynomial", arithmetic.LOG_COEFFICIENTS),
    ):
        rows = page_table(title)
        assert [float(text) for text, _ in rows] == list(coefficients)
        assert [np.float32(text) for text, _ in rows] == [from_bits(bits) for _, bits in rows]
    for bits, value in (
        ("0x3F318000", arithmetic.LN2_HIGH),
        ("0xB95E8083", arithmetic.LN2_LOW),
        ("0x3FB8AA3B", arithmetic.LOG2_E),
    ):
        assert from_bits(bits) == np.float32(value)


def test_powers_of_two_of_the_page() -> None:
    for text, x, expected, mass in page_table("Powers of two"):
        assert from_bits(x) == np.float32(text)
        got = same_everywhere(np.array([from_bits(x)]), "exp2", oracle.exp2)
        assert got[0] == from_bits(expected)
        assert int(np.trunc(np.float64(got[0]) * 2**40)) == int(mass)


def test_exp2() -> None:
    x = exp2_inputs()
    got = same_everywhere(x, "exp2", oracle.exp2)
    exact = np.exp2(np.maximum(x.astype(np.float64), -64))
    error = np.abs(got / exact - 1).max() / UNIT
    assert error <= 1.7, f"exp2 is off by {error:.3f} units of 2^-24"
    assert got[x == 0].min() == got[x == 0].max() == 1


def test_exp2_rises() -> None:
    """Over every float32 in [-2, -1]: a larger score never weighs less by more than the error of both."""
    x = -float_range(1.0, 2.0)[::-1].copy()
    y = arithmetic.exp2(torch.from_numpy(x)).numpy()
    assert (np.diff(y.view(np.int32)) >= -3).all()
    assert y[0] == 0.25
    assert y[-1] == 0.5


def test_exponential() -> None:
    u = exponential_inputs()
    got = same_everywhere(u, "exponential", oracle.exponential)
    exact = -np.log1p(-u.astype(np.float64))
    error = np.abs(got / exact - 1).max() / UNIT
    assert error <= 2.0, f"exponential is off by {error:.3f} units of 2^-24"
    assert np.isfinite(got).all()
    assert (got > 0).all()


def test_exponential_is_at_least_u() -> None:
    """The native race skips an id when u alone is beyond the best time; that is right only if E >= u, always.

    In C++, where it is built, over every u that a word can become: all float32 from 2^-8 up, and the words below 2^24.
    """
    built = native.why_not() is None
    exponential = native.module().exponential if built else oracle.exponential
    for binade in range(1, 9):
        u = float_range(2.0**-binade, min(2.0 ** (1 - binade), 1 - UNIT))
        u = u if built else u[::37]
        assert (exponential(u) >= u).all(), f"from 2^-{binade} on"
    u = oracle.uniform(np.arange(2**24, dtype=np.uint32))
    assert (exponential(u if built else u[::37]) >= (u if built else u[::37])).all()


def test_ordered_keys_order_like_floats() -> None:
    random = np.random.default_rng(6)
    bits = random.integers(0, 2**32, 1_000_000, dtype=np.uint32)
    edges = np.float32([-np.inf, -3e38, -1, -1e-45, -0.0, 0.0, 1e-45, 1e-38, 1, 3e38, np.inf])
    x = np.concatenate([bits.view(np.float32), edges])
    x = np.sort(x[~np.isnan(x)])
    key = arithmetic.ordered_key(torch.from_numpy(x)).numpy()
    assert key.min() >= 0
    assert key.max() < 2**32
    assert ((np.diff(key) > 0) == (x[1:] > x[:-1])).all()
    assert (np.diff(key) >= 0).all()
    if native.why_not() is None:
        assert (native.module().ordered_key(x) == key).all()
        back = native.module().key_value(key.astype(np.uint32))
        assert (back == x).all()
        assert not np.signbit(back[x == 0]).any()


def test_mass() -> None:
    """Integers in 0..2^40 that float32 holds exactly, 2^40 at the top score, 0 far below; the same bits everywhere."""
    random = np.random.default_rng(7)
    top = np.float32(random.normal(0, 30, 1_000_000))
    below = np.concatenate(
        [random.exponential(8, 700_000), random.exponential(1e-3, 200_000), [0] * 99_998, [3e38, np.inf]]
    )
    score = (top - below.astype(np.float32)).astype(np.float32)
    got = arithmetic.mass(torch.from_numpy(score), torch.from_numpy(top)).numpy()
    with np.errstate(over="ignore"):
        assert (got == oracle.mass(score, top)).all()
    if native.why_not() is None:
        assert (native.module().mass(score, top) == got).all()
    assert got.min() == 0
    assert got.max() == 2**40
    assert (got[score == top] == 2**40).all()
    assert (got.astype(np.float32).astype(np.int64) == got).all()
    distance = np.minimum(top.astype(np.float64) - score, 1e3)
    exact = np.exp(-distance) * 2.0**40
    assert (np.abs(got - exact) <= exact * (4 + 2 * distance) * UNIT + 1).all()


@pytest.mark.parametrize("total", [1, 3, 2**40, 2**40 + 1, 2**53 - 1, 2**62])
def test_threshold_is_the_exact_ceiling(total: int) -> None:
    """ceil(float64(top_p) float64(total)), against Python's rationals on the same rounded product."""
    top_p = torch.tensor([0.5, 0.25, 0.1, 0.9, 1 - 2.0**-24, 1e-30, 2.0**-40])
    got = arithmetic.threshold(top_p, torch.tensor(total))
    products = [float(p) * float(total) for p in top_p.tolist()]
    assert got.tolist() == [-int(-x // 1) for x in products]
