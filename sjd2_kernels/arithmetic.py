"""The written-out arithmetic that makes samplers identical on every backend (rung L3), in PyTorch.

Everything here has a twin of the same name in csrc/include/sjd2/ with the same operations in the same order: each line
is one float32 rounding, multiplies and adds are never fused, and no library function with an unspecified last bit is
called.
"""

from __future__ import annotations

import torch
from torch import Tensor

# 2**f on [-0.5, 0.5] with exp2(0) == 1 exactly; own minimax fit, worst relative error 1.7 units of 2**-24
EXP2_COEFFICIENTS = (
    0.00015353362,
    0.0013398875,
    0.009618437,
    0.055503324,
    0.24022648,
    0.6931472,
    1.0,
)
# (log(1+f) - f + f*f/2) / f**3 on [sqrt(1/2) - 1, sqrt(2) - 1]; worst relative error of E 2.0 units of 2**-24
LOG_COEFFICIENTS = (
    -0.07634482,
    0.1276157,
    -0.13160186,
    0.14201759,
    -0.16623357,
    0.20001227,
    -0.2500082,
    0.3333333,
)
LN2_HIGH = 0.693359375
LN2_LOW = -2.12194440e-4
LOG2_E = 1.4426950408889634
MASS_BITS = 40
MIN_EXPONENT = -64.0  # exp2 below it would be denormal; the mass is zero there anyway
SQRT_HALF_BITS = 0x3F3504F3
ROUNDER = 12582912.0  # 1.5 * 2**23: adding and subtracting it rounds a float32 to an integer


def float32(value: float) -> float:
    """``value`` rounded to float32, as a Python float."""
    return torch.tensor(value, dtype=torch.float32).item()


def _horner(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    result = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x
        result = result + float32(coefficient)
    return result


def exp2(x: Tensor) -> Tensor:
    """2**x for float32 x <= 0, x below -64 read as -64; exp2(0) is exactly 1."""
    x = torch.clamp(x, min=MIN_EXPONENT)
    n = (x + ROUNDER) - ROUNDER
    mantissa = _horner(EXP2_COEFFICIENTS, x - n)
    return (mantissa.view(torch.int32) + (n.to(torch.int32) << 23)).view(torch.float32)


def exponential(u: Tensor) -> Tensor:
    """E = -log1p(-u) for float32 u in (0, 1): a standard exponential variate, exact to 2 units of 2**-24."""
    y = 1.0 - u
    rest = (1.0 - y) - u  # what rounding 1 - u lost, exactly
    bits = y.view(torch.int32)
    k = (bits - SQRT_HALF_BITS) >> 23
    f = (bits - (k << 23)).view(torch.float32) - 1.0
    k = k.to(torch.float32)
    f2 = f * f
    tail = _horner(LOG_COEFFICIENTS, f) * (f2 * f)
    tail = tail + k * float32(LN2_LOW)
    tail = tail - 0.5 * f2
    tail = tail + rest
    return -((tail + f) + k * LN2_HIGH)


def ordered_key(x: Tensor) -> Tensor:
    """An int64 in 0..2**32-1 that orders float32 values; -0 and +0 share a key. x must not be NaN."""
    bits = (x + 0.0).view(torch.int32).to(torch.int64)
    return torch.where(bits < 0, ~bits & 0xFFFFFFFF, bits | 0x80000000)


def mass(scores: Tensor, top: Tensor) -> Tensor:
    """Fixed-point weight of each score against the row's largest: trunc(2**((s - top) log2 e) * 2**40), int64.

    Every mass is below 2**41 and exact in float32, so sums of up to 2**22 of them are exact in int64.
    """
    x = (scores - top) * float32(LOG2_E)
    return (exp2(x) * float(2**MASS_BITS)).to(torch.int64)


def threshold(top_p: Tensor, total: Tensor) -> Tensor:
    """ceil(float64(top_p) * float64(total)) as int64: the mass that a top-p prefix must reach."""
    return torch.ceil(top_p.to(torch.float64) * total.to(torch.float64)).to(torch.int64)
