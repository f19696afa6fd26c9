"""Standard normals of RNG v1 by Box-Muller: radius = sqrt(-2 log u1), angle = 2 pi u2, the cosine first, then the sine.

Twins of the functions of the same names in csrc/include/sjd2/normal.h: polynomials, since the library's sine and cosine
spill to local memory. Across backends normals are promised to a tolerance only.
"""

import triton
import triton.language as tl

from . import pieces


@triton.jit
def log_unit(u):
    """log u for u in [2**-33, 1)."""
    bits = u.to(tl.int32, bitcast=True)
    k = (bits - 0x3F3504F3) >> 23  # u = m * 2**k, m in [sqrt(1/2), sqrt(2))
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
    tail = r * (f2 * f) + k * -2.12194440e-4 - 0.5 * f2
    return (tail + f) + k * 0.693359375


@triton.jit
def circle(turn):
    """(cosine, sine) of ``turn`` whole turns, turn in [0, 1]."""
    quarter = (4.0 * turn + 12582912.0) - 12582912.0  # 1.5 * 2**23: rounds to an integer, 0..4
    r = turn - 0.25 * quarter  # exact, in [-1/8, 1/8]
    r2 = r * r
    s = r * (6.2831855 + r2 * (-41.341663 + r2 * (81.592354 + r2 * -75.39356)))
    c = 1.0 + r2 * (-19.739208 + r2 * (64.93931 + r2 * (-85.4423 + r2 * 59.202797)))
    q = quarter.to(tl.int32)
    odd = (q & 1) != 0
    cosine, sine = tl.where(odd, s, c), tl.where(odd, c, s)
    return tl.where((q + 1) & 2 != 0, -cosine, cosine), tl.where(q & 2 != 0, -sine, sine)


@triton.jit
def box_muller(word1, word2):
    """Two independent standard normals of two random words."""
    radius = tl.sqrt_rn(-2.0 * log_unit(pieces.uniform(word1)))
    cosine, sine = circle(pieces.uniform(word2))
    return radius * cosine, radius * sine


@triton.jit
def normals(seed, position, start, BLOCK: tl.constexpr):
    """float32 [BLOCK]: normals of channels start .. start + BLOCK - 1, multiples of 4; seed and position are int64."""
    group = (start // 4 + tl.arange(0, BLOCK // 4)).to(tl.uint32)
    w0, w1, w2, w3 = pieces.groups(seed, position, pieces.STREAM_NOISE, seed * 0, group)
    n0, n1 = box_muller(w0, w1)
    n2, n3 = box_muller(w2, w3)
    return tl.interleave(tl.interleave(n0, n2), tl.interleave(n1, n3))
