"""Speculative verification: accept drafts left to right, replace the first rejected one, redraw the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import rng


def verify_accept(
    draft: Tensor,
    p: Tensor,
    q: Tensor,
    seed: Tensor,
    pos: Tensor,
    fresh: Tensor | None = None,
    epoch: Tensor | None = None,
    verifiable: Tensor | None = None,
    forced: Tensor | None = None,
    done: Tensor | None = None,
    *,
    accept: str = "ratio",
    redraw: str = "fresh",
) -> tuple[Tensor, Tensor, Tensor]:
    """See docs/operators.md, section verify_accept."""
    B, L, V = p.shape
    epoch = torch.zeros_like(seed) if epoch is None else epoch
    slots = pos[:, None] + torch.arange(L, device=p.device)  # [B, L]
    is_forced = torch.zeros_like(draft, dtype=torch.bool) if forced is None else forced >= 0

    valid = (draft >= 0) & (draft < V)  # a draft that can be judged
    if verifiable is not None:
        valid = valid & verifiable
    if accept == "match":
        assert fresh is not None
        accepted = valid & (draft == fresh)
        ratio = accepted.float()
        replacement = fresh
    else:
        accepted, ratio = _judge(draft.clamp(0, V - 1), p, q, seed, slots, epoch)
        accepted, ratio = accepted & valid, torch.where(valid, ratio, 0.0)
        replacement = _replacement(p, q, seed, slots, epoch, valid, fresh)
    accepted, ratio = accepted | is_forced, torch.where(is_forced, 1.0, ratio)

    n = accepted.int().cumprod(-1).sum(-1, keepdim=True)  # [B, 1]
    unknown = torch.full_like(draft, -1) if fresh is None else fresh
    if redraw == "couple":
        rest = torch.where(accepted, draft, replacement)
    elif redraw == "keep":
        rest = torch.where(ratio >= 0.5, draft, unknown)
    else:
        rest = unknown
    slot = torch.arange(L, device=p.device)
    tokens = torch.where(slot < n, draft, torch.where(slot == n, replacement, rest))
    if forced is not None:
        tokens = torch.where(is_forced, forced, tokens)
    accept_len = n[:, 0]
    if done is not None:
        skip = done != 0
        accept_len = torch.where(skip, 0, accept_len)
        tokens, ratio = torch.where(skip[:, None], -1, tokens), torch.where(skip[:, None], 0.0, ratio)
    # elementwise results follow their inputs' strides; outputs must not
    return accept_len.to(torch.int32).contiguous(), tokens.contiguous(), ratio.contiguous()


def _judge(draft: Tensor, p: Tensor, q: Tensor, seed: Tensor, slots: Tensor, epoch: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each draft passes u q(d) < p(d), and min(1, p(d)/q(d)); a draft that q excludes fails."""
    pd, qd = (law.gather(-1, draft[..., None])[..., 0] for law in (p, q))
    u = rng.uniform(rng.words(seed[:, None], slots, rng.STREAM_ACCEPT, epoch[:, None], 1)[..., 0])
    possible = qd > 0
    ratio = pd / qd
    ratio = torch.where(possible & (ratio > 0), ratio.clamp(max=1.0), 0.0)
    # p >= q is implied by u < 1 but for the rounding of u * q among denormals
    return possible & ((pd >= qd) | (u * qd < pd)), ratio


def _replacement(
    p: Tensor, q: Tensor, seed: Tensor, slots: Tensor, epoch: Tensor, valid: Tensor, fresh: Tensor | None
) -> Tensor:
    """What a rejected slot holds: a residual sample; where there was nothing to reject, fresh or a draw from p."""
    word = rng.words(seed[:, None], slots, rng.STREAM_RESIDUAL, epoch[:, None], p.shape[-1])
    residual = p - q
    from_p = rng.race(p, word)
    empty = ~(residual > 0).any(-1)
    rejected = torch.where(empty, from_p, rng.race(residual, word))
    return torch.where(valid, rejected, from_p if fresh is None else fresh)
