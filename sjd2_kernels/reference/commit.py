"""The integer bookkeeping of a decoding step: output ids, positions, cache lengths, re-feed rows, done flags.

A committed token's key is in the cache only if the token was fed clean and as committed; all others are fed again, at
least the last one, whose row gives the law of the next token. The commit is capped so that A re-feed rows suffice.
"""

from __future__ import annotations

import torch
from torch import Tensor


def commit(
    tokens: Tensor,
    draft: Tensor,
    accept_len: Tensor,
    ids: Tensor,
    prompt_len: Tensor,
    n_tokens: Tensor,
    out: Tensor,
    pos: Tensor,
    kv_len: Tensor,
    q_start: Tensor,
    refeed: Tensor,
    epoch: Tensor,
    done: Tensor,
    level: Tensor | None = None,
) -> Tensor:
    """See docs/operators.md, section commit."""
    (B, L), N, A = tokens.shape, out.shape[1], refeed.shape[1]
    slot = torch.arange(L, device=tokens.device)
    active = done == 0
    limit = n_tokens.clamp(max=N)

    cached = (slot < accept_len[:, None]) & (tokens == draft)  # [B, L]: this slot's key is right
    if level is not None:
        cached = cached & (level == 0)
    leading = cached.int().cumprod(-1).sum(-1)  # [B]

    G = prompt_len.shape[0] // max(B, 1)  # model rows per image; row r belongs to image r mod B

    def of_row(per_image: Tensor) -> Tensor:  # [B] -> [R]
        return per_image.repeat(G)

    good = kv_len.to(torch.int64) + (A - q_start) + of_row(leading)  # [R] leading keys that are right
    wanted = pos + (accept_len.to(torch.int64) + 1).clamp(max=L)
    room = (good + A - prompt_len).view(G, B)
    c = torch.maximum(pos, torch.cat([room, wanted[None], limit[None]]).amin(0))
    new_kv_len = torch.minimum(good, prompt_len + of_row(c) - 1)
    again = prompt_len + of_row(c) - new_kv_len  # [R] rows to feed again

    index = torch.arange(N, device=tokens.device) - pos[:, None]  # [B, N] the slot that stands at each place of out
    token = tokens.gather(1, index.clamp(0, L - 1))
    written = (index >= 0) & (index < (c - pos)[:, None]) & active[:, None]
    out.copy_(torch.where(written, _model_id(ids, token), out))

    back = torch.arange(A - 1, -1, -1, device=tokens.device)  # 0 at the last re-feed row
    used = torch.cat([again.view(G, B), torch.ones_like(c)[None]]).amax(0)
    place = c[:, None] - 1 - torch.where(back < used[:, None], back, 0)  # [B, A]
    known = (place >= 0) & (place < N) & active[:, None]  # before the first token the prompt's end stays
    if N > 0:
        refeed.copy_(torch.where(known, out.gather(1, place.clamp(0, N - 1)), refeed))

    n_commit = torch.where(active, c - pos, 0).to(torch.int32)
    kv_len.copy_(torch.where(of_row(active), new_kv_len, kv_len))
    q_start.copy_(torch.where(of_row(active), A - again, q_start))
    epoch.copy_(epoch + active)
    done.copy_(torch.where(active, c >= limit, done))
    pos.copy_(torch.where(active, c, pos))
    return n_commit


def _model_id(ids: Tensor, token: Tensor) -> Tensor:
    """ids[token], -1 for a token outside the table."""
    if ids.shape[0] == 0:
        return torch.full_like(token, -1)
    inside = (token >= 0) & (token < ids.shape[0])
    return torch.where(inside, ids[token.clamp(0, ids.shape[0] - 1)], -1)
