"""Logits to a law and a draw: guidance, constraint, temperature, top-k, top-p, softmax, exponential race.

Each line below is one float32 rounding, and sums are integers, so that every backend can give the same bits (rung L3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import rng
from ..arithmetic import mass, threshold

NAN, OVERFLOW, EMPTY = 1, 2, 4  # status bits


def process_logits(
    cond: Tensor,
    uncond: Tensor | None = None,
    guidance: Tensor | None = None,
    temperature: Tensor | None = None,
    top_k: Tensor | None = None,
    top_p: Tensor | None = None,
    seed: Tensor | None = None,
    pos: Tensor | None = None,
    epoch: Tensor | None = None,
    forced: Tensor | None = None,
    done: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """See docs/operators.md, section process_logits."""
    B, L, V = cond.shape
    scores = _scores(cond, uncond, guidance, temperature)  # [B, L, V]
    masked = scores == -torch.inf

    status = (
        NAN * (scores != scores).any(-1) + OVERFLOW * (scores == torch.inf).any(-1) + EMPTY * masked.all(-1)
    )  # [B, L]
    lowest = (~masked).int().argmax(-1)  # 0 where all are masked
    scores = torch.where(status[..., None] != 0, 0.0, scores)

    weight = mass(scores, scores.amax(-1, keepdim=True))  # [B, L, V] int64
    kept = ~masked
    if top_k is not None:
        kept = kept & _in_top_k(scores, top_k)
    weight = torch.where(kept, weight, 0)
    if top_p is not None:
        weight = torch.where(_in_top_p(weight, top_p), weight, 0)

    # a row with one certain outcome: argmax, or flagged
    certain, outcome = status != 0, lowest
    if temperature is not None:
        greedy = (~(temperature > 0))[:, None].expand(B, L)
        outcome = torch.where(greedy & ~certain, scores.argmax(-1), outcome)
        certain = certain | greedy
    one = torch.nn.functional.one_hot(outcome, V)
    weight = torch.where(certain[..., None], one, weight)
    p = weight.float() / weight.sum(-1, keepdim=True).float()

    zero = torch.zeros(B, dtype=torch.int64, device=cond.device)
    seed, pos, epoch = (zero if x is None else x for x in (seed, pos, epoch))
    slots = pos[:, None] + torch.arange(L, device=cond.device)  # [B, L]
    word = rng.words(seed[:, None], slots, rng.STREAM_DRAFT, epoch[:, None], V)
    fresh = rng.race(weight.float(), word)

    if forced is not None:
        is_forced = forced >= 0
        p, fresh = torch.where(is_forced[..., None], 0.0, p), torch.where(is_forced, forced, fresh)
        status = torch.where(is_forced, 0, status)
    if done is not None:
        skip = (done != 0)[:, None]
        p, fresh, status = (
            torch.where(skip[..., None], 0.0, p),
            torch.where(skip, -1, fresh),
            torch.where(skip, 0, status),
        )
    # elementwise results follow their inputs' strides; outputs must not
    return p.contiguous(), fresh.contiguous(), status.to(torch.int32).contiguous()


def _scores(cond: Tensor, uncond: Tensor | None, guidance: Tensor | None, temperature: Tensor | None) -> Tensor:
    """Guided scores over temperature, float32, -inf where masked."""
    c = cond.to(torch.float32)
    scores, masked = c, c == -torch.inf
    if uncond is not None:
        u = uncond.to(torch.float32)
        masked = masked | (u == -torch.inf)
        scaled = c - u
        if guidance is not None:
            scaled = guidance[:, None, None] * scaled
        scores = u + scaled
    if temperature is not None:
        scores = scores / torch.where(temperature > 0, temperature, 1.0)[:, None, None]
    # the mask comes last: -inf over an infinite temperature is NaN
    return torch.where(masked, -torch.inf, scores + 0.0)


def _in_top_k(scores: Tensor, top_k: Tensor) -> Tensor:
    """Scores >= the k-th largest; all of them where k is off."""
    V = scores.shape[-1]
    off = (top_k <= 0) | (top_k >= V)
    k = torch.where(off, V, top_k)[:, None, None].expand(*scores.shape[:2], 1)
    smallest = scores.sort(-1, descending=True).values.gather(-1, k - 1)
    return scores >= smallest


def _in_top_p(weight: Tensor, top_p: Tensor) -> Tensor:
    """The smallest prefix by (weight descending, id ascending) whose mass reaches the threshold; all where off."""
    need = threshold(top_p[:, None, None], weight.sum(-1, keepdim=True)).clamp_min(1)
    ordered, ids = torch.sort(weight, dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    kept = torch.zeros_like(weight, dtype=torch.bool).scatter(-1, ids, before < need)
    return kept | ~(top_p < 1.0)[:, None, None]
