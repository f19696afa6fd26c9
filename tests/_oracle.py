"""The samplers once more, in Python integers and NumPy float32, from docs/rng.md and docs/operators.md alone.

Shares no line with sjd2_kernels, takes its constants from the page, and goes slot by slot: what an implementation is
held against.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "rng.md"
DRAFT, ACCEPT, RESIDUAL, NOISE, INITIAL = range(5)
MASK = 0xFFFFFFFF
f32 = np.float32
Array = np.ndarray


def page_table(title: str) -> list[list[str]]:
    """The cells of the table under the heading ``title`` of docs/rng.md."""
    section = PAGE.read_text().split(f"# {title}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def from_bits(text: str) -> f32:
    return np.array(int(text, 16), np.uint32).view(f32)[()]


EXP2 = [from_bits(bits) for _, bits in page_table("The exp2 polynomial")]
LOG = [from_bits(bits) for _, bits in page_table("The log polynomial")]
LN2_HIGH, LN2_LOW, LOG2_E, SQRT_HALF = map(from_bits, ("0x3F318000", "0xB95E8083", "0x3FB8AA3B", "0x3F3504F3"))


def philox(counter: tuple[Any, ...], key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Philox4x32-10 on Python integers, or on uint64 arrays that hold words."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (right >> 32) ^ b ^ k, right & MASK, (left >> 32) ^ d ^ m, left & MASK
        k, m = (k + 0x9E3779B9) & MASK, (m + 0xBB67AE85) & MASK
    return a, b, c, d


def word(seed: int, position: int, stream: int, epoch: int, index: int) -> int:
    counter = (index >> 2 & MASK, position & MASK, stream, epoch & MASK)
    return philox(counter, (seed & MASK, seed >> 32 & MASK))[index & 3]


def words(seed: int, position: int, stream: int, epoch: int, count: int) -> Array:
    """The words of indices 0..count-1, uint32."""
    group = np.arange((count + 3) // 4, dtype=np.uint64)
    rest = (np.uint64(x & MASK) for x in (position, stream, epoch))
    with np.errstate(over="ignore"):
        out = philox((group, *rest), (np.uint64(seed & MASK), np.uint64(seed >> 32 & MASK)))
    return np.stack(np.broadcast_arrays(*out), -1).reshape(-1)[:count].astype(np.uint32)


def uniform(w: Array) -> Array:
    return np.minimum((w.astype(f32) + f32(0.5)) * f32(2.0**-32), f32(1 - 2.0**-24))


def horner(coefficients: list[f32], x: Array) -> Array:
    r = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        r = r * x + c  # two float32 roundings: NumPy does not fuse
    return r


def exponential(u: Array) -> Array:
    y = f32(1) - u
    rest = (f32(1) - y) - u
    m, k = np.frexp(y)
    low = m < SQRT_HALF
    m, k = np.where(low, m * f32(2), m), (k - low).astype(f32)
    f = m - f32(1)
    square = f * f
    tail = horner(LOG, f) * (square * f) + k * LN2_LOW - f32(0.5) * square + rest
    return -((tail + f) + k * LN2_HIGH)


def exp2(x: Array) -> Array:
    x = np.maximum(x, f32(-64))
    n = np.rint(x)
    return np.ldexp(horner(EXP2, x - n), n.astype(np.int32))


def mass(score: Array, top: f32) -> Array:
    with np.errstate(over="ignore"):
        return np.trunc(exp2((score - top) * LOG2_E) * f32(2.0**40)).astype(np.int64)


def race(weight: Array, w: Array) -> int:
    """The id with the smallest E / weight among those with weight > 0; 0 if there is none."""
    ids = np.flatnonzero(weight > 0)
    if not len(ids):
        return 0
    with np.errstate(over="ignore"):
        time = np.minimum(exponential(uniform(w[ids])) / weight[ids].astype(f32), np.finfo(f32).max)
    return int(ids[np.argmin(time)])


def process_row(
    cond: Array, uncond: Array | None = None, guidance: float | None = None, temperature: float | None = None,
    top_k: int | None = None, top_p: float | None = None, seed: int = 0, pos: int = 0, epoch: int = 0,
) -> tuple[Array, int, int]:  # fmt: skip
    """process_logits for one slot at position ``pos``: p, the draw, the status."""
    with np.errstate(all="ignore"):
        s = c = cond.astype(f32)
        masked = c == -np.inf
        if uncond is not None:
            u = uncond.astype(f32)
            s = u + (f32(1) if guidance is None else f32(guidance)) * (c - u)
            masked |= u == -np.inf
        if temperature is not None and temperature > 0:
            s = s / f32(temperature)
        s = np.where(masked, -np.inf, s + f32(0)).astype(f32)
    V, out = len(s), s == -np.inf
    status = 1 * bool(np.isnan(s).any()) + 2 * bool((s == np.inf).any()) + 4 * bool(out.all())
    winner = None
    if status:
        winner = 0 if out.all() else int(np.flatnonzero(~out)[0])
    elif temperature is not None and not temperature > 0:
        winner = int(np.argmax(s))
    if winner is not None:
        return np.eye(1, V, winner, dtype=f32)[0], winner, status
    weight = np.where(out, 0, mass(np.where(out, f32(-1e30), s), s.max()))
    if top_k is not None and 0 < top_k < V:
        weight[s < sorted(s)[V - top_k]] = 0
    if top_p is not None and top_p < 1:
        need = int(np.ceil(np.float64(f32(top_p)) * np.float64(weight.sum())))
        order = sorted(range(V), key=lambda i: (-weight[i], i))
        before = np.cumsum([0] + [weight[i] for i in order])[:-1]
        weight[[i for i, b in zip(order, before, strict=True) if b >= max(need, 1)]] = 0
    p = weight.astype(f32) / f32(weight.sum())
    return p, race(weight, words(seed, pos, DRAFT, epoch, V)), 0


def verify_image(
    draft: list[int], p: Array, q: Array, seed: int, pos: int, fresh: list[int] | None = None, epoch: int = 0,
    verifiable: list[bool] | None = None, forced: list[int] | None = None, done: int = 0,
    accept: str = "ratio", redraw: str = "fresh",
) -> tuple[int, list[int], list[f32]]:  # fmt: skip
    """verify_accept for one image, slot by slot: accept_len, tokens, ratio."""
    L, V = p.shape
    if done:
        return 0, [-1] * L, [f32(0)] * L

    def judge(j: int) -> tuple[bool, f32]:
        d = draft[j]
        if forced is not None and forced[j] >= 0:
            return True, f32(1)
        if not judged[j]:
            return False, f32(0)
        if accept == "match":
            return d == fresh[j], f32(d == fresh[j])
        pd, qd = p[j, d], q[j, d]
        if not qd > 0:
            return False, f32(0)
        u = uniform(np.array([word(seed, pos + j, ACCEPT, epoch, 0)], np.uint32))[0]
        with np.errstate(all="ignore"):
            return bool(pd >= qd or u * qd < pd), min(f32(1), pd / qd) if pd > 0 else f32(0)

    def replacement(j: int) -> int:
        if accept == "match" or (not judged[j] and fresh is not None):
            return fresh[j]
        w = words(seed, pos + j, RESIDUAL, epoch, V)
        with np.errstate(all="ignore"):
            residual = p[j] - q[j]
        return race(residual if judged[j] and (residual > 0).any() else p[j], w)

    judged = [0 <= d < V and (verifiable is None or bool(verifiable[j])) for j, d in enumerate(draft)]
    verdict = [judge(j) for j in range(L)]
    n = next((j for j, (ok, _) in enumerate(verdict) if not ok), L)
    tokens = []
    for j, (ok, ratio) in enumerate(verdict):
        if forced is not None and forced[j] >= 0:
            tokens.append(forced[j])
        elif j < n or (j > n and ((redraw == "couple" and ok) or (redraw == "keep" and ratio >= 0.5))):
            tokens.append(draft[j])
        elif j == n or redraw == "couple":
            tokens.append(replacement(j))
        else:
            tokens.append(-1 if fresh is None else fresh[j])
    return n, tokens, [ratio for _, ratio in verdict]
