"""The device functions that kernels share: random numbers, and the arithmetic that makes samplers equal everywhere.

Twins of ../arithmetic.py and ../rng.py: the same operations in the same order, one float32 rounding each. Kernels that
use them are launched with enable_fp_fusion=False. Divisions are tl.div_rn: `/` is approximate on the GPU.
"""

import triton
import triton.language as tl

STREAM_DRAFT = tl.constexpr(0)
STREAM_ACCEPT = tl.constexpr(1)
STREAM_RESIDUAL = tl.constexpr(2)
STREAM_NOISE = tl.constexpr(3)


@triton.jit
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10 on uint32 tensors, scalars included; returns four. Sums and products are mod 2**32 on purpose."""
    for _ in tl.static_range(10):
        high0, low0 = tl.umulhi(c0, 0xD2511F53), tl.mul(c0, 0xD2511F53, sanitize_overflow=False)
        high1, low1 = tl.umulhi(c2, 0xCD9E8D57), tl.mul(c2, 0xCD9E8D57, sanitize_overflow=False)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = tl.add(k0, 0x9E3779B9, sanitize_overflow=False)
        k1 = tl.add(k1, 0xBB67AE85, sanitize_overflow=False)
    return c0, c1, c2, c3


@triton.jit
def groups(seed, position, stream: tl.constexpr, epoch, group):
    """The four words of each group of four indices: group = index >> 2, uint32 [N]; seed, position, epoch int64."""
    return philox(
        group,
        position.to(tl.uint32),
        tl.full([], stream, tl.uint32),
        epoch.to(tl.uint32),
        seed.to(tl.uint32),
        (seed >> 32).to(tl.uint32),
    )


@triton.jit
def words(seed, position, stream: tl.constexpr, epoch, start, BLOCK: tl.constexpr):
    """The words of indices start .. start + BLOCK - 1, uint32 [BLOCK]; start and BLOCK are multiples of 4."""
    group = (start // 4 + tl.arange(0, BLOCK // 4)).to(tl.uint32)
    w0, w1, w2, w3 = groups(seed, position, stream, epoch, group)
    return tl.interleave(tl.interleave(w0, w2), tl.interleave(w1, w3))


@triton.jit
def uniform(word):
    """float32 in (0, 1) of a uint32 word: min((float32(word) + 0.5) 2**-32, 1 - 2**-24)."""
    return tl.minimum((word.to(tl.float32) + 0.5) * 2.3283064365386963e-10, 0.999999940395355224609375)


@triton.jit
def exponential(u):
    """E = -log1p(-u), a standard exponential variate of a uniform."""
    y = 1.0 - u
    rest = (1.0 - y) - u  # what rounding 1 - u lost, exactly
    bits = y.to(tl.int32, bitcast=True)
    k = (bits - 0x3F3504F3) >> 23
    f = (bits - (k << 23)).to(tl.float32, bitcast=True) - 1.0
    k = k.to(tl.float32)
    f2 = f * f
    r = f * -0.07634482 + 0.1276157
    r = r * f + -0.13160186
    r = r * f + 0.14201759
    r = r * f + -0.16623357
    r = r * f + 0.20001227
    r = r * f + -0.2500082
    r = r * f + 0.3333333
    tail = r * (f2 * f)
    tail = tail + k * -2.12194440e-4
    tail = tail - f2 * 0.5
    tail = tail + rest
    return -((tail + f) + k * 0.693359375)


@triton.jit
def exp2(x):
    """2**x for x <= 0, x below -64 read as -64; exp2(0) is exactly 1."""
    x = tl.maximum(x, -64.0)
    n = (x + 12582912.0) - 12582912.0  # 1.5 * 2**23: rounds to an integer
    f = x - n
    r = f * 0.00015353362 + 0.0013398875
    r = r * f + 0.009618437
    r = r * f + 0.055503324
    r = r * f + 0.24022648
    r = r * f + 0.6931472
    r = r * f + 1.0
    return (r.to(tl.int32, bitcast=True) + (n.to(tl.int32) << 23)).to(tl.float32, bitcast=True)


@triton.jit
def mass(score, top):
    """trunc(2**((score - top) log2 e) 2**40) as the float32 that equals it."""
    scaled = exp2((score - top) * 1.4426950408889634) * 1099511627776.0
    # from 2**23 on a float32 is an integer already
    whole = tl.minimum(scaled, 8388608.0).to(tl.int32).to(tl.float32)
    return tl.where(scaled < 8388608.0, whole, scaled)


@triton.jit
def ordered_key(x):
    """An int32 that orders float32 values; -0 and +0 share a key. x must not be NaN."""
    bits = tl.where(x == 0.0, 0.0, x).to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def race_time(u, weight):
    """E / weight of a candidate, finite for denormal weights; +inf where the weight is not above zero."""
    candidate = weight > 0.0
    time = tl.div_rn(exponential(u), tl.where(candidate, weight, 1.0))
    return tl.where(candidate, tl.minimum(time, 3.4028234663852886e38), float("inf"))


@triton.jit
def race(b_time, b_id, u, weight, ids):
    """The faster of two candidates in each lane; ids that come later are larger, so ties stay with the lower one."""
    time = race_time(u, weight)
    faster = time < b_time
    return tl.where(faster, time, b_time), tl.where(faster, ids, b_id)


@triton.jit
def winner(b_time, b_id):
    """The smallest time over the lanes and the lowest id that has it."""
    time = tl.min(b_time)
    return time, tl.min(tl.where(b_time == time, b_id, 2147483647))
