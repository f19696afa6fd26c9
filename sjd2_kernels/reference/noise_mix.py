"""One denoising step of the window: shift by the committed count, lerp toward the prediction, refill with noise."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import rng
from .table_rows import table_rows


def noise_mix(
    state: Tensor,
    level: Tensor,
    tokens: Tensor,
    fresh: Tensor,
    shift: Tensor,
    times: Tensor,
    table: Tensor,
    mean: Tensor,
    std: Tensor,
    seed: Tensor,
    pos: Tensor,
    forced: Tensor | None = None,
    n_tokens: Tensor | None = None,
    accept_len: Tensor | None = None,
    done: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See docs/operators.md, section noise_mix."""
    B, L, C = state.shape
    T = times.shape[0] - 1
    dtype = state.dtype
    slot = torch.arange(L, device=state.device).expand(B, L)
    position = pos[:, None] + slot  # [B, L]
    old = slot + shift.clamp(0, L)[:, None]  # where the slot stood before the shift
    source = old.clamp(max=L - 1)
    before = level.clamp(0, T).gather(1, source).to(torch.int64)

    # rules 4 to 6: what became of the slot that stood at `old`
    clean = before == 0
    if accept_len is not None:
        clean = clean | (old <= accept_len[:, None])
    draft = torch.where(clean, tokens.gather(1, source), fresh.gather(1, source))
    after = torch.where(clean, 0, (before - 1).clamp(min=0))
    target = draft  # a noisy slot moves toward its prediction

    # rules 3, 2, 1, each overruling the ones before it
    new = old >= L
    after = torch.where(new, T, after)
    if forced is not None:
        held = forced >= 0
        after, target, new = torch.where(held, 0, after), torch.where(held, forced, target), new & ~held
    outside = new if T == 0 else torch.zeros_like(new)  # slots that hold nothing
    if n_tokens is not None:
        outside = outside | (position >= n_tokens[:, None])
    if done is not None:
        outside = outside | (done != 0)[:, None]
    after, target = torch.where(outside, 0, after), torch.where(outside, -1, target)

    wide = times.to(dtype)
    a = (wide[before - 1] / wide[before])[..., None]  # read where a level above 1 falls by one
    embedding = table_rows(table, target, dtype)  # zeros where target is -1
    lerp = a * state.gather(1, source[..., None].expand(B, L, C)) + (1 - a) * embedding
    noise = mean.to(dtype) + std.to(dtype) * rng.normals(seed[:, None], position, C, dtype)
    noisy = (after > 0)[..., None]
    mixed = torch.where(noisy, torch.where(new[..., None], noise, lerp), embedding)
    return mixed, after.to(torch.int32), torch.where(after > 0, -1, target), mixed.to(table.dtype)
