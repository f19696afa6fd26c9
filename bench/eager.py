"""The peers of our operators: the same steps as PyTorch users write them today, batched, without waiting for the host.

`chain` is guidance, Hugging Face's top-k rule, softmax over all ids, multinomial, ratio test, residual, multinomial.
`smart_chain` is what a careful user writes: topk once, then softmax and draw among the k. What the published loops do
is in published.py.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding


def guided(cond: Tensor, uncond: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance."""
    return uncond + guidance * (cond - uncond)


def top_k_law(scores: Tensor, k: int) -> Tensor:
    """The law after top-k as Hugging Face's TopKLogitsWarper and a softmax give it; k = 0 is off."""
    if k:
        smallest = torch.topk(scores, k).values[..., -1, None]
        scores = scores.masked_fill(scores < smallest, -torch.inf)
    return torch.softmax(scores, -1)


def draw(p: Tensor) -> Tensor:
    """One token of each law [..., V]."""
    return torch.multinomial(p.reshape(-1, p.shape[-1]), 1).view(p.shape[:-1])


def verify(draft: Tensor, p: Tensor, q: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
    """Ratio test, first failure, residual sample; [B] accepted tokens and [B, L] tokens."""
    B, L = draft.shape
    ratio = p.gather(-1, draft[..., None])[..., 0] / q.gather(-1, draft[..., None])[..., 0]
    n = (torch.rand_like(ratio) < ratio).int().cumprod(-1).sum(-1)
    at = n.clamp(max=L - 1)[:, None, None].expand(B, 1, p.shape[-1])
    law = p.gather(1, at)[:, 0]
    residual = (law - q.gather(1, at)[:, 0]).clamp(min=0)
    residual = torch.where(residual.sum(-1, keepdim=True) > 0, residual, law)
    slot = torch.arange(L, device=draft.device)
    tokens = torch.where(slot == n[:, None], draw(residual)[:, None], fresh)
    return n, torch.where(slot < n[:, None], draft, tokens)


def chain(cond: Tensor, uncond: Tensor, q: Tensor, draft: Tensor, guidance: float, k: int) -> tuple[Tensor, Tensor]:
    """process_logits + verify_accept."""
    p = top_k_law(guided(cond.float(), uncond.float(), guidance), k)
    return verify(draft, p, q, draw(p))


def smart_law(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Law and draw by one topk."""
    values, ids = torch.topk(scores, k)
    weights = torch.softmax(values, -1)
    fresh = ids.gather(-1, draw(weights)[..., None])[..., 0]
    return torch.zeros_like(scores).scatter_(-1, ids, weights), fresh


def smart_chain(
    cond: Tensor, uncond: Tensor, q: Tensor, draft: Tensor, guidance: float, k: int
) -> tuple[Tensor, Tensor]:
    """process_logits + verify_accept, drawing among the k."""
    p, fresh = smart_law(guided(cond.float(), uncond.float(), guidance), k)
    return verify(draft, p, q, fresh)


def noise_embed(table: Tensor, token: Tensor, mean: Tensor, std: Tensor, t: Tensor) -> Tensor:
    """Table rows mixed with Gaussian noise."""
    clean = embedding(token, table).float()
    noise = mean + std * torch.randn_like(clean)
    return torch.lerp(clean, noise, t[..., None]).to(table.dtype)


def noise_mix(
    state: Tensor, level: Tensor, tokens: Tensor, fresh: Tensor, shift: Tensor, times: Tensor, table: Tensor,
    mean: Tensor, std: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Shift, lerp toward the prediction, refill with noise: state, levels, drafts and rows."""
    L, T = level.shape[1], len(times) - 1
    source = torch.arange(L, device=level.device) + shift[:, None]
    carried = source < L
    source = source.clamp(max=L - 1)
    old, noisy = state.gather(1, source[..., None].expand(state.shape)), level.gather(1, source)
    token = torch.where(noisy > 0, fresh.gather(1, source), tokens.gather(1, source))
    lower = (noisy - 1).clamp(min=0)
    keep = torch.where(noisy > 0, times[lower] / times[noisy.clamp(min=1)], 0)[..., None]
    mixed = keep * old + (1 - keep) * embedding(token, table).float()
    new = torch.where(carried[..., None], mixed, mean + std * torch.randn_like(state))
    left = torch.where(carried, lower, T)
    return new, left, torch.where(left == 0, token, -1), new.to(table.dtype)


def nearest_token(state: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    """All scores, then the best."""
    return (state.to(table.dtype) @ table.T + bias).argmax(-1)
