"""The restated published loop: its laws, its constraint, its rule of acceptance, its next window; its attention."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare

from bench import eager, published
from bench.published import Vocabulary, attention, iteration

TINY = Vocabulary(size=9, first=2, V=4, eol=7, width=3)


def laws(scores: torch.Tensor) -> torch.Tensor:
    """Over the image ids alone."""
    masked = torch.full_like(scores, -torch.inf)
    masked[..., 2:6] = scores[..., 2:6]
    return torch.softmax(masked, -1)


def one(start: int, draft: list[int], q: torch.Tensor, scores: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
    scores = torch.zeros(len(draft), 9) if scores is None else scores
    logits = torch.stack([scores, scores])  # guidance changes nothing where both rows agree
    return iteration(logits, torch.tensor(draft), q, start, TINY, guidance=3.0, k=4)


def test_equal_laws_accept_everything() -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, 9)
    committed, draft, q = one(0, [2, 5, 3], laws(scores), scores)
    assert committed.tolist() == [2, 5, 3]
    assert (draft >= 2).all()
    assert (draft < 6).all()
    assert torch.equal(q, laws(torch.zeros(3, 9)))  # new slots: uniform over the image ids


def test_disjoint_laws_fail_at_once_and_the_next_window_is_this_ones_laws() -> None:
    scores = torch.full((3, 9), -50.0)
    scores[:, 2] = 50.0
    q = torch.zeros(3, 9)
    q[:, 5] = 1.0
    committed, draft, q = one(0, [5, 5, 5], q, scores)
    assert committed.tolist() == [2]
    assert draft[:2].tolist() == [2, 2]
    assert q[:2, 2].tolist() == pytest.approx([1.0, 1.0])
    assert q[2].tolist() == pytest.approx([0, 0, 0.25, 0.25, 0.25, 0.25, 0, 0, 0])


def test_the_row_ends_where_the_grid_says() -> None:
    committed, draft, q = one(2, [3, 3, 3], laws(torch.zeros(3, 9)))
    assert len(committed) == 2  # the second slot is an end of line, its draft an image token
    assert committed.tolist() == [3, 7]
    assert q[0].tolist() == pytest.approx([0, 0, 0.25, 0.25, 0.25, 0.25, 0, 0, 0])


def test_the_first_token_has_the_models_law() -> None:
    """1500 iterations of one slot, drafts from another law; chi-square at 1e-4. The draft itself must fail it."""
    torch.manual_seed(1)
    scores = torch.tensor([[0.0, 0, 1.0, 0.2, -0.5, 0.6, 0, 0, 0]])
    p, q = laws(scores)[0], laws(-2 * scores)
    drafts = torch.multinomial(q[0], 1500, replacement=True)
    drawn = torch.stack([one(0, [int(d)], q, scores)[0][0] for d in drafts])
    expected = 1500 * p[2:6].double().numpy()
    expected *= 1500 / expected.sum()

    def pvalue(tokens: torch.Tensor) -> float:
        return float(chisquare(torch.bincount(tokens, minlength=9)[2:6].numpy(), expected).pvalue)

    assert pvalue(drawn) > 1e-4
    assert pvalue(drafts) < 1e-12


def test_guidance_and_top_k() -> None:
    torch.manual_seed(2)
    cond, uncond = torch.randn(2, 1, 9)
    scores = eager.guided(cond, uncond, 3.0)
    best = int(scores[0, 2:6].argmax()) + 2
    committed, _, _ = iteration(torch.stack([cond, uncond]), torch.tensor([best]), torch.zeros(1, 9), 0, TINY, 3.0, 1)
    assert committed.tolist() == [best]


@pytest.mark.parametrize("Hkv", [4, 2])
def test_attention_is_causal_attention_over_prefix_and_window(Hkv: int) -> None:
    torch.manual_seed(3)
    q, k, v = torch.randn(2, 3, 4, 8), torch.randn(2, 3, Hkv, 8), torch.randn(2, 3, Hkv, 8)
    past = torch.randn(2, 2, Hkv, 5, 8)
    out = attention(q, k, v, *past)
    for row in range(2):
        for m in range(3):
            for head in range(4):
                pair = head * Hkv // 4
                keys = torch.cat([past[0, row, pair], k[row, : m + 1, pair]])
                values = torch.cat([past[1, row, pair], v[row, : m + 1, pair]])
                expected = torch.softmax(keys @ q[row, m, head] / 8**0.5, 0) @ values
                assert torch.allclose(out[row, m, head], expected, atol=1e-6)


def test_the_models() -> None:
    """Ids as their checkpoints have them."""
    assert (published.LUMINA.first, published.LUMINA.V, published.LUMINA.size) == (4, 8192, 65_536)
    assert published.EMU3.first + published.EMU3.V == published.EMU3.size
