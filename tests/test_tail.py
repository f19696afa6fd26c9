"""Rare tokens: 2^18 of them at 1e-9 each must be drawn as often as they say (B9), and nothing may leak into 1e-6
tokens.

A uniform that never falls below 2^-24 (float32 noise as it is often made) cannot draw a token of 1e-9 beside one of 1,
and no test at ordinary probabilities sees it.
"""

from __future__ import annotations

import pytest
import torch
from _live import live, on_backends
from scipy import stats
from torch import Tensor

from sjd2_kernels import process_logits, verify_accept

TAIL, RARE = 2**18, 1e-9
DRAWS = 2**17  # seeds 0..2^17 - 1 were searched, at position 0 and epoch 0, head id = 2^18 of weight 1

# (seed, id) of every draw that a tail token wins by more than 0.5 %, found by an exhaustive search over all 3.4e10
# words
DRAFT_HITS = [
    (6443, 208462), (14680, 132860), (19011, 107755), (25130, 107951), (30297, 17197), (31396, 23046), (44001, 67219),
    (51898, 223763), (53636, 47332), (56681, 17090), (64310, 163702), (72097, 184336), (73600, 138300), (78967, 158563),
    (83764, 257547), (85720, 94246), (88757, 66329), (93055, 179635), (95081, 256248), (96195, 5844), (110149, 65249),
    (111477, 227688), (112450, 68096), (119335, 76761), (121729, 219012), (123416, 179768), (124512, 92991),
    (128298, 131588), (128653, 60313), (129184, 233974),
]  # fmt: skip
RESIDUAL_HITS = [
    (2817, 73049), (10421, 200689), (13442, 24253), (16635, 126033), (17673, 209678), (20685, 96203), (23148, 173915),
    (25518, 40278), (34130, 201219), (45158, 222368), (46339, 231284), (48240, 186403), (56404, 176445),
    (65692, 127964),
    (68243, 26471), (69540, 40593), (73581, 135358), (76247, 157355), (85333, 126614), (86818, 76967), (95053, 188823),
    (95562, 236253), (101214, 111449), (101736, 220394), (105325, 95877), (107863, 44089), (114333, 195456),
    (116252, 17221), (122176, 85453), (129950, 123714),
]  # fmt: skip


def drafts(weight: Tensor, seed: Tensor, backend: str) -> Tensor:
    logits = weight.log().expand(len(seed), 1, -1)
    return process_logits(logits, seed=seed, backend=backend)[1][:, 0]


def residuals(weight: Tensor, seed: Tensor, backend: str) -> Tensor:
    """Rejected drafts: q is certain of an extra first id that p excludes, so the residual is ``weight``, shifted by
    one."""
    B, V = len(seed), len(weight) + 1
    p = torch.cat([torch.zeros(1), weight]).expand(B, 1, V)
    q = torch.nn.functional.one_hot(torch.tensor(0), V).float().expand(B, 1, V)
    return verify_accept(torch.zeros(B, 1, dtype=torch.long), p, q, seed, 0, backend=backend)[1][:, 0] - 1


def unshifted_residuals(weight: Tensor, seed: Tensor, backend: str) -> Tensor:
    """Missing drafts without fresh: a stream-2 draw from p."""
    p = weight.expand(len(seed), 1, -1)
    return verify_accept(torch.full((len(seed), 1), -1), p, p, seed, 0, backend=backend)[1][:, 0]


@pytest.mark.parametrize("hits", [DRAFT_HITS, RESIDUAL_HITS], ids=["draft", "residual"])
def test_the_number_of_hits_is_right(hits: list[tuple[int, int]]) -> None:
    """As many as 2^17 draws from a tail of total weight 2.6e-4 give (34.4), anywhere in the tail: p > 0.01."""
    expected = DRAWS * TAIL * RARE
    assert stats.chi2.sf((len(hits) - expected) ** 2 / expected, 1) > 0.01
    assert stats.kstest([i / TAIL for _, i in hits], "uniform").pvalue > 0.01


@on_backends("process_logits", "verify_accept")
@pytest.mark.parametrize(
    ("draw", "hits"), [(drafts, DRAFT_HITS), (unshifted_residuals, RESIDUAL_HITS)], ids=["draft", "residual"]
)
def test_tail_tokens_are_drawn(backend: str, draw, hits: list[tuple[int, int]]) -> None:
    """B9. The draws that a tail token wins go to that token; their neighbours' go to the head."""
    hits = hits[:3] if backend == "reference" else hits
    weight = torch.full((TAIL + 1,), RARE)
    weight[-1] = 1.0
    assert draw(weight, torch.tensor([seed for seed, _ in hits]), backend).tolist() == [i for _, i in hits]
    assert (draw(weight, torch.tensor([seed + 1 for seed, _ in hits]), backend) == TAIL).all()


@pytest.mark.parametrize("draw", [drafts, residuals])
def test_nothing_leaks_into_rare_tokens(draw) -> None:
    """500 tokens of 1e-6 beside 12 ordinary ones, 2^17 draws: 65.5 rare ones are expected, chi-square over 13 cells p >
    1e-4.

    A leak of 5e-4 (66 more) is found with probability 0.99.
    """
    weight = torch.full((512,), 1e-6)
    common = torch.arange(12) * 41 + 3
    weight[common] = torch.arange(1.0, 13.0) / 78 * (1 - 500e-6)
    count, B = torch.zeros(512), 2**17
    for seed in torch.arange(B).split(2**14):
        count += torch.bincount(draw(weight, seed, live("verify_accept")[0]), minlength=512)
    rare = torch.ones(512, dtype=torch.bool)
    rare[common] = False
    seen = torch.cat([count[common], count[rare].sum()[None]]).double()
    expected = torch.cat([weight[common], weight[rare].sum()[None]]).double() * B
    assert stats.chi2.sf(((seen - expected) ** 2 / expected).sum().item(), 12) > 1e-4
    assert count[rare].max() <= 3  # and no single rare token is favoured
