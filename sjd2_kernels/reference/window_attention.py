"""Attention of the window rows over cache prefix, causal window and one timestep key each; appends to the cache.

out[m] = sum_s w[m, s] value[s], w = softmax over what row m sees of scale * q[m] . key[s]: cache entries before kv_len,
the rows q_start..m, and time_k[level[m]] where the level is above 0. Row m stands at key position kv_len + m - q_start.
"""

from __future__ import annotations

import torch
from torch import Tensor


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    kv_len: Tensor,
    q_start: Tensor,
    scale: float,
    time_k: Tensor | None = None,
    time_v: Tensor | None = None,
    level: Tensor | None = None,
    done: Tensor | None = None,
    *,
    shadow: int = 0,
    refeed: int = 1,
) -> Tensor:
    """The definition of ``sjd2::window_attention``; see docs/operators.md."""
    R, M, H, D = q.shape
    Hkv, S = k.shape[2], k_cache.shape[2]
    if M == 0:
        return q.new_empty(q.shape)
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    row = torch.arange(M, device=q.device)
    slot = torch.arange(S, device=q.device)

    start = q_start.long().clamp(0, M)[:, None]  # [R, 1]
    length = kv_len.long().clamp(0, S)[:, None]
    own = M - shadow  # rows from here on are shadows: they stand where window row `twin` stands
    twin = torch.where(row < own, row, row - own + refeed)
    live = (twin >= start) & (length + twin - start < S)  # [R, M]
    if done is not None:
        live = live & (done == 0).repeat(R // max(done.shape[0], 1))[:, None]

    # what nobody sees is zeroed first: a weight of zero does not stop a NaN
    cached = (slot < length)[:, None, :, None]  # [R, 1, S, 1]
    alive = live[:, None, :, None]  # [R, 1, M, 1]
    keys_prefix, values_prefix = (torch.where(cached, x, 0).to(wide) for x in (k_cache, v_cache))  # [R, Hkv, S, D]
    keys_window, values_window = (torch.where(alive, x.transpose(1, 2), 0).to(wide) for x in (k, v))  # [R, Hkv, M, D]
    queries = torch.where(alive, q.transpose(1, 2), 0).to(wide).view(R, Hkv, H // Hkv, M, D)

    sees = (row < twin[:, None]) | (row == row[:, None])  # [M, M]: rows left of its position, and itself
    sees = sees & live[:, :, None] & live[:, None, :]  # [R, M, M]
    prefix = _scores(queries, keys_prefix, scale).masked_fill(~(slot < length)[:, None, None, None], -torch.inf)
    window = _scores(queries, keys_window, scale).masked_fill(~sees[:, None, None], -torch.inf)
    scores = [prefix, window]  # [R, Hkv, G, M, S], [R, Hkv, G, M, M]
    if time_k is not None and time_v is not None and level is not None:
        noisy = live & (level > 0) & (level < time_k.shape[0])
        at = torch.where(noisy, level, 0).long()
        seen = noisy[:, None, :, None]
        key, value = (torch.where(seen, x[at].transpose(1, 2), 0).to(wide)[:, :, None] for x in (time_k, time_v))
        timestep = (queries * key).sum(-1, keepdim=True) * scale  # [R, Hkv, G, M, 1]
        scores.append(timestep.masked_fill(~seen[:, :, None], -torch.inf))

    weights = torch.softmax(torch.cat(scores, -1), -1)
    out = weights[..., :S] @ values_prefix[:, :, None] + _causal(weights[..., S : S + M], values_window, sees)
    if len(scores) == 3:
        out = out + weights[..., S + M :] * value
    _append(k_cache, k, start, length, live, own)
    _append(v_cache, v, start, length, live, own)
    out = torch.where(alive, out.reshape(R, H, M, D), 0)
    return out.transpose(1, 2).to(q.dtype).contiguous()


def _scores(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """[R, Hkv, G, M, D], [R, Hkv, S, D] -> [R, Hkv, G, M, S]."""
    return queries @ keys[:, :, None].transpose(-1, -2) * scale


def _causal(weights: Tensor, values: Tensor, sees: Tensor) -> Tensor:
    """weights @ values, where a value that is not finite reaches only the rows that see it, and makes them NaN."""
    bad = ~values.isfinite()
    lost = sees[:, None].to(values.dtype) @ bad.to(values.dtype) > 0  # [R, Hkv, M, D]
    return (weights @ values.masked_fill(bad, 0)[:, :, None]).masked_fill(lost[:, :, None], torch.nan)


def _append(cache: Tensor, rows: Tensor, start: Tensor, length: Tensor, live: Tensor, own: int) -> None:
    """Write the live window rows [R, M, Hkv, D] to cache positions length, length + 1, ..., indices on the device."""
    slot = torch.arange(cache.shape[2], device=cache.device)
    source = slot - length + start  # [R, S], the row that belongs to each cache position
    inside = source.clamp(0, own - 1)
    here = (slot >= length) & (source < own) & live.gather(1, inside)
    moved = rows.transpose(1, 2).gather(2, inside[:, None, :, None].expand(cache.shape))
    cache.copy_(torch.where(here[:, None, :, None], moved, cache))
