"""What the tests of window_attention share: cases with NaN where nobody may look, a row-by-row oracle, a peer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from _noise_cases import assert_same, generator
from torch import Tensor

import sjd2_kernels

Case = dict[str, Any]
NAN = float("nan")
T = 3  # levels of the cases


def case(
    M: int, prefix: int | Sequence[int], H: int = 4, Hkv: int = 2, D: int = 40, *, R: int = 2, S: int | None = None,
    q_start: Sequence[int] | None = None, dtype: torch.dtype = torch.float32, timesteps: bool = True, seed: int = 0,
) -> Case:  # fmt: skip
    """A ragged call: NaN in the cache from kv_len on and in the rows before q_start, levels inside and outside 0..T."""
    g = generator(seed + 7 * M + 31 * H + D)
    kv_len = [max(prefix - r, 0) for r in range(R)] if isinstance(prefix, int) else list(prefix)
    start = [r * M // 4 for r in range(R)] if q_start is None else list(q_start)
    S = max(kv_len, default=0) + M + 3 if S is None else S

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    made: Case = {"q": noise(R, M, H, D), "k": noise(R, M, Hkv, D), "v": noise(R, M, Hkv, D)}
    made |= {"k_cache": noise(R, Hkv, S, D), "v_cache": noise(R, Hkv, S, D)}
    for r in range(R):
        for name in ("k_cache", "v_cache"):
            made[name][r, :, max(kv_len[r], 0) :] = NAN
        for name in ("q", "k", "v"):
            made[name][r, : max(start[r], 0)] = NAN
    made |= {"kv_len": torch.tensor(kv_len, dtype=torch.int32), "q_start": torch.tensor(start, dtype=torch.int32)}
    made["scale"] = D**-0.5 if D else 1.0
    if timesteps:
        made |= {"time_k": noise(T + 1, Hkv, D), "time_v": noise(T + 1, Hkv, D)}
        made["level"] = torch.randint(-1, T + 3, (R, M), generator=g, dtype=torch.int32)
        made["time_k"][0] = made["time_v"][0] = NAN  # level 0 has no timestep
    return made


def clones(c: Case) -> Case:
    """The same call on tensors of its own."""
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in c.items()}


def arranged(c: Case, layout: int) -> Case:
    """The case in one of six layouts: what models, fused projections and paged or padded caches hand over."""
    q, k, v, k_cache, v_cache = (c[name] for name in ("q", "k", "v", "k_cache", "v_cache"))
    H, Hkv = q.shape[2], k.shape[2]

    def swapped(x: Tensor, a: int, b: int) -> Tensor:
        return x.transpose(a, b).contiguous().transpose(a, b)

    def padded(x: Tensor) -> Tensor:
        inner = x.new_full([n + 3 for n in x.shape], NAN)[1:-2, 2:-1, 1:-2, 1:-2]
        return inner.copy_(x)

    if layout == 1:  # [R, H, M, D] and [R, S, Hkv, D]
        rows, caches = [swapped(x, 1, 2) for x in (q, k, v)], [swapped(x, 1, 2) for x in (k_cache, v_cache)]
    elif layout == 2:  # one projection, one buffer for keys and values
        rows = list(torch.cat([q, k, v], 2).split([H, Hkv, Hkv], 2))
        caches = list(torch.stack([k_cache, v_cache]).unbind())
    elif layout == 3:  # last axis with stride 2; keys beside values in a row
        rows = [torch.stack([x, x], -1)[..., 1] for x in (q, k, v)]
        caches = list(torch.cat([k_cache, v_cache], -1).chunk(2, -1))
    elif layout == 4:  # inside something larger, unaligned
        rows, caches = [padded(x) for x in (q, k, v)], [padded(x) for x in (k_cache, v_cache)]
    elif layout == 5:  # keys and values with different strides (B21)
        rows, caches = [swapped(q, 0, 1), swapped(k, 0, 2), v.clone()], [swapped(k_cache, 0, 2), v_cache.clone()]
    else:
        rows, caches = [q, k, v], [k_cache.clone(), v_cache.clone()]
    return c | dict(zip(("q", "k", "v", "k_cache", "v_cache"), [*rows, *caches], strict=True))


def run(c: Case, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """(out, k_cache, v_cache) of a call on clones; what is not in place must stay as it was."""
    used = clones(c)
    out = sjd2_kernels.window_attention(**used, backend=backend)
    for name, value in c.items():
        if isinstance(value, Tensor) and not name.endswith("_cache"):
            assert_same(used[name], value, f"{name} was written:")
    return out, used["k_cache"], used["v_cache"]


def place(c: Case, r: int) -> tuple[int, int]:
    """kv_len and q_start of a row as they are read."""
    M, S = c["q"].shape[1], c["k_cache"].shape[2]
    return min(max(int(c["kv_len"][r]), 0), S), min(max(int(c["q_start"][r]), 0), M)


def position(c: Case, r: int, m: int) -> int | None:
    """The key position of a row, None for one that is not there."""
    M, S, shadow = c["q"].shape[1], c["k_cache"].shape[2], c.get("shadow", 0)
    length, start = place(c, r)
    row = m if m < M - shadow else m - (M - shadow) + c.get("refeed", 1)
    done = c.get("done")
    if row < start or length + row - start >= S or (done is not None and done[r % len(done)] != 0):
        return None
    return length + row - start


def visible(c: Case, r: int, m: int, h: int) -> tuple[Tensor, Tensor]:
    """Keys and values [n, D] that row m sees through kv head h: cache, rows left of it, itself, a timestep."""
    length, start = place(c, r)
    at = position(c, r, m)
    assert at is not None
    level = int(c["level"][r, m]) if "level" in c else 0
    seen = []
    for name in ("k", "v"):
        left = c[name][r, start : start + at - length, h]
        rows = [c[f"{name}_cache"][r, h, :length], left, c[name][r, [m], h]]
        if 0 < level < len(c.get(f"time_{name}", ())):
            rows.append(c[f"time_{name}"][[level], h])
        seen.append(torch.cat(rows).double())
    return seen[0], seen[1]


def oracle(c: Case, rows: Sequence[int] | None = None) -> Tensor:
    """The output in float64, row by row and head by head; zero for rows that are not there."""
    R, M, H, D = c["q"].shape
    group = H // c["k"].shape[2]
    out = torch.zeros(R, M, H, D, dtype=torch.float64)
    for r in range(R):
        for m in range(M) if rows is None else rows:
            if position(c, r, m) is None:
                continue
            for h in range(H):
                if h % group == 0:
                    keys, values = visible(c, r, m, h // group)
                weights = torch.softmax(keys @ c["q"][r, m, h].double() * c["scale"], 0)
                out[r, m, h] = weights @ values
    return out


def peer(c: Case) -> Tensor:
    """The usual PyTorch expression in the inputs' own dtype: concatenated keys, a mask, softmax, a product."""
    R, M, H, D = c["q"].shape
    group = H // c["k"].shape[2]
    out = torch.zeros_like(c["q"])
    for r in range(R):
        length, start = place(c, r)
        n = min(M - start, c["k_cache"].shape[2] - length)
        live = slice(start, start + n)

        def joined(cache: Tensor, rows: Tensor, r: int = r, length: int = length, live: slice = live) -> Tensor:
            return torch.cat([cache[r, :, :length], rows[r, live].transpose(0, 1)], 1).repeat_interleave(group, 0)

        q = c["q"][r, live].transpose(0, 1)  # [H, n, D]
        scores = q @ joined(c["k_cache"], c["k"]).transpose(1, 2) * c["scale"]
        query, key = torch.arange(n)[:, None], torch.arange(length + n)
        scores = scores.masked_fill(key > query + length, -torch.inf)
        values = joined(c["v_cache"], c["v"])
        level = c["level"][r, live].long() if "level" in c else torch.zeros(n, dtype=torch.int64)
        noisy = (level > 0) & (level <= T)
        if not noisy.any():
            out[r, live] = (torch.softmax(scores, -1) @ values).transpose(0, 1)
            continue
        level = torch.where(noisy, level, 1)
        time_k, time_v = (c[x][level].transpose(0, 1).repeat_interleave(group, 0) for x in ("time_k", "time_v"))
        step = ((q * time_k).sum(-1, keepdim=True) * c["scale"]).masked_fill(~noisy[:, None], -torch.inf)
        weights = torch.softmax(torch.cat([scores, step], -1), -1)
        out[r, live] = (weights[..., :-1] @ values + weights[..., -1:] * time_v).transpose(0, 1)
    return out


def caches_after(c: Case) -> tuple[Tensor, Tensor]:
    """The caches with every row that is there written at its position, shadows apart."""
    made = []
    for name in ("k", "v"):
        cache = c[f"{name}_cache"].clone()
        for r in range(c["q"].shape[0]):
            for m in range(c["q"].shape[1] - c.get("shadow", 0)):
                at = position(c, r, m)
                if at is not None:
                    cache[r, :, at] = c[name][r, m]
        made.append(cache)
    return made[0], made[1]


def rounding(dtype: torch.dtype, size: Tensor) -> Tensor:
    """One rounding to `dtype` of a number of that size; a few in float64, where the oracle rounds as well."""
    return torch.finfo(dtype).eps * size * (16 if dtype == torch.float64 else 0.5)


def check_error(c: Case, *backends: str) -> None:
    """At most twice the error of PyTorch's expression in the same dtype, plus one rounding of an output.

    Twice in the root mean square. The largest error of a few rows is at the mercy of one near-tie of two keys (with one
    row, two equally exact expressions are further apart than twice in one case of thirty): four times there.
    """
    M, dtype = c["q"].shape[1], c["q"].dtype
    rows = list(range(M)) if M < 97 else [0, 1, *range(5, M - 2, 8), M - 2, M - 1]
    exact, theirs = oracle(c, rows)[:, rows], peer(c)[:, rows].double()
    written = caches_after(c)
    away, size = (theirs - exact).abs(), exact.abs()
    limits = {
        "root mean square": 2 * away.square().mean().sqrt() + rounding(dtype, size.square().mean().sqrt()),
        "largest": 4 * away.max() + rounding(dtype, size.max()),
    }
    for backend in backends:
        out, *caches = run(c, backend)
        assert out.dtype == dtype
        error = (out[:, rows].double() - exact).abs()
        found = {"root mean square": error.square().mean().sqrt(), "largest": error.max()}
        for name, limit in limits.items():
            if not found[name] <= limit:
                at = tuple((~(error < error.max())).nonzero()[0].tolist())
                what = f"{backend}: {name} error {found[name]:.3g} of rows {rows}, at most {limit:.3g}"
                raise AssertionError(f"{what}; at {at} {out[:, rows][at]} against {exact[at]}")
        assert_same(tuple(caches), written, f"{backend}: cache")
