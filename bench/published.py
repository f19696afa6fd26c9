"""What the published loops of speculative Jacobi decoding do in an iteration outside the model, restated.

One image, Python at the wheel: laws over the model's whole vocabulary, the grid's constraint slot by slot, one test per
draft whose outcome the host reads before it goes on, the residual of the first failure, the rest of the window drawn
anew, laws and drafts of the next window put together by concatenation (arXiv 2410.01699, Algorithm 1; SJD2 keeps the
same scheduler). Written from the papers; the arithmetic is right (tests/test_bench_published.py), and nothing is slowed
down on purpose: what a step computes once is computed once here as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from . import eager


@dataclass(frozen=True)
class Vocabulary:
    """Where the image ids lie in a model's vocabulary, and how a row of the picture ends.

    Attributes:
        size: all ids. first, V: image ids first .. first + V - 1. eol: the end of a row, of ``width`` tokens.
    """

    size: int
    first: int
    V: int
    eol: int
    width: int


LUMINA = Vocabulary(65_536, 4, 8192, 8803, 48)
EMU3 = Vocabulary(184_622, 151_854, 32_768, 151_846, 90)


def iteration(
    logits: Tensor, draft: Tensor, q: Tensor, start: int, vocabulary: Vocabulary, guidance: float, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One iteration.

    Args:
        logits: [2, W, size], conditional and unconditional.
        draft: [W] int64, model ids. q: [W, size], the law of each draft.
        start: tokens of the picture before slot 0. k: of top-k.

    Returns: the committed tokens [n], n >= 1, the next draft [W] and its laws [W, size].
    """
    v, W, device = vocabulary, len(draft), draft.device
    cond, uncond = logits.float()
    scores = eager.guided(cond, uncond, guidance)
    for j in range(W):  # the grid: an end of line, or image ids only
        allowed = torch.full((v.size,), -torch.inf, device=device)
        if (start + j + 1) % (v.width + 1) == 0:
            allowed[v.eol] = 0.0
        else:
            allowed[v.first : v.first + v.V] = 0.0
        scores[j] += allowed
    p = eager.top_k_law(scores, k)
    fresh = torch.multinomial(p, 1)[:, 0]
    ratio = p.gather(1, draft[:, None])[:, 0] / q.gather(1, draft[:, None])[:, 0]
    committed = draft
    for j in range(W):
        if not bool(torch.rand((), device=device) < ratio[j]):  # the host waits for every draft
            residual = (p[j] - q[j]).clamp(min=0)
            mass = residual.sum()
            law = torch.where(mass > 0, residual / mass, p[j])
            committed = torch.cat([draft[:j], torch.multinomial(law, 1)])
            break
    n = len(committed)
    new = torch.randint(v.first, v.first + v.V, (n,), device=device)
    uniform = torch.zeros(n, v.size, device=device)
    uniform[:, v.first : v.first + v.V] = 1.0 / v.V
    return committed, torch.cat([fresh[n:], new]), torch.cat([p[n:], uniform])


def attention(q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor) -> Tensor:
    """A layer's attention as the published loops have it: grown cache, repeated heads, an explicit mask.

    Args:
        q: [R, M, H, D]; k, v: [R, M, Hkv, D]; past_k, past_v: [R, Hkv, prefix, D].

    Returns: [R, M, H, D].
    """
    M, group = q.shape[1], q.shape[2] // k.shape[2]
    keys, values = (torch.cat([past, x.transpose(1, 2)], 2) for past, x in ((past_k, k), (past_v, v)))
    S = keys.shape[2]
    keys, values = (x[:, :, None].expand(-1, -1, group, -1, -1).flatten(1, 2) for x in (keys, values))
    mask = torch.full((M, S), torch.finfo(q.dtype).min, dtype=q.dtype, device=q.device).triu(S - M + 1)
    return scaled_dot_product_attention(q.transpose(1, 2), keys, values, mask[None, None]).transpose(1, 2)
