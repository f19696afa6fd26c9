"""The peers of process_logits + verify_accept: the same step as PyTorch users write it today.

`chain` follows the published loops: guidance, Hugging Face's top-k rule, softmax over all ids, multinomial, ratio test,
residual, multinomial. `smart_chain` is what a careful user writes: topk once, then softmax and draw among the k.
"""

from __future__ import annotations

import torch
from torch import Tensor


def guided(cond: Tensor, uncond: Tensor, guidance: float) -> Tensor:
    return uncond + guidance * (cond - uncond)


def top_k_law(scores: Tensor, k: int) -> Tensor:
    """The law after top-k as Hugging Face's TopKLogitsWarper and a softmax give it; k = 0 is off."""
    if k:
        smallest = torch.topk(scores, k).values[..., -1, None]
        scores = scores.masked_fill(scores < smallest, -torch.inf)
    return torch.softmax(scores, -1)


def verify(draft: Tensor, p: Tensor, q: Tensor, fresh: Tensor) -> tuple[int, Tensor]:
    """Ratio test of one image, first failure, residual sample."""
    ratio = p.gather(-1, draft[..., None])[..., 0] / q.gather(-1, draft[..., None])[..., 0]
    accepted = torch.rand(draft.shape) < ratio
    n = int(accepted.int().cumprod(-1).sum())
    tokens = torch.where(torch.arange(draft.shape[1]) < n, draft, fresh)
    if n < draft.shape[1]:
        residual = (p[0, n] - q[0, n]).clamp(min=0)
        tokens[0, n] = torch.multinomial(residual / residual.sum(), 1)
    return n, tokens


def chain(cond: Tensor, uncond: Tensor, q: Tensor, draft: Tensor, guidance: float, k: int) -> tuple[int, Tensor]:
    p = top_k_law(guided(cond, uncond, guidance), k)
    fresh = torch.multinomial(p.view(-1, p.shape[-1]), 1).view(draft.shape)
    return verify(draft, p, q, fresh)


def smart_chain(cond: Tensor, uncond: Tensor, q: Tensor, draft: Tensor, guidance: float, k: int) -> tuple[int, Tensor]:
    scores = guided(cond, uncond, guidance)
    values, ids = torch.topk(scores, k)
    weights = torch.softmax(values, -1)
    fresh = ids.gather(-1, torch.multinomial(weights.view(-1, k), 1).view(*draft.shape, 1))[..., 0]
    p = torch.zeros_like(scores).scatter_(-1, ids, weights)
    return verify(draft, p, q, fresh)
