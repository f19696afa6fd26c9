"""The peers compute what ours compute: laws and steps against the reference, draws by their law."""

from __future__ import annotations

import pytest
import torch

import sjd2_kernels
from bench import eager


@pytest.mark.parametrize("k", [0, 5])
def test_laws(k: int) -> None:
    torch.manual_seed(0)
    cond, uncond = torch.randn(2, 2, 3, 40)
    p, _, _ = sjd2_kernels.process_logits(cond, uncond, guidance=3.0, top_k=k or None, backend="reference")
    scores = eager.guided(cond, uncond, 3.0)
    assert torch.allclose(eager.top_k_law(scores, k), p, atol=1e-6)
    if k:
        law, fresh = eager.smart_law(scores, k)
        assert torch.allclose(law, p, atol=1e-6)
        assert (p.gather(-1, fresh[..., None]) > 0).all()


def test_verification() -> None:
    torch.manual_seed(0)
    p = torch.softmax(torch.randn(3, 4, 9), -1)
    draft, fresh = torch.randint(9, (2, 3, 4))
    n, tokens = eager.verify(draft, p, p, fresh)
    assert n.tolist() == [4, 4, 4]
    assert torch.equal(tokens, draft)
    q = torch.zeros_like(p).scatter_(-1, draft[..., None], 1.0)
    never = torch.where(q > 0, 0.0, p)
    never[:, 0] /= 1  # images differ in where they fail
    n, tokens = eager.verify(draft, torch.where(torch.arange(4)[:, None] < 2, q, never), q, fresh)
    assert n.tolist() == [2, 2, 2]
    assert torch.equal(tokens[:, :2], draft[:, :2])
    assert (tokens[:, 2] != draft[:, 2]).all()
    assert torch.equal(tokens[:, 3], fresh[:, 3])


def test_chains_run_and_stay_in_range() -> None:
    torch.manual_seed(0)
    cond, uncond = torch.randn(2, 2, 3, 40)
    q, draft = torch.full((2, 3, 40), 1 / 40), torch.randint(40, (2, 3))
    for chain in (eager.chain, eager.smart_chain):
        n, tokens = chain(cond, uncond, q, draft, 3.0, 5)
        assert ((n >= 0) & (n <= 3)).all()
        assert ((tokens >= 0) & (tokens < 40)).all()


def test_denoising_is_the_references_where_nothing_is_drawn() -> None:
    torch.manual_seed(0)
    B, L, C, V, T = 2, 6, 8, 12, 4
    state, table = torch.randn(B, L, C), torch.randn(V, C)
    level = torch.randint(0, T + 1, (B, L), dtype=torch.int32)
    tokens, fresh = torch.randint(V, (2, B, L))
    shift, times = torch.tensor([1, 3], dtype=torch.int32), torch.linspace(0, 1, T + 1)
    args = (state, level, tokens, fresh, shift, times, table, table.mean(0), table.std(0))
    found = eager.noise_mix(*args)
    expected = sjd2_kernels.noise_mix(*args, seed=0, pos=0, backend="reference")
    for b in range(B):
        kept = L - int(shift[b])
        for mine, theirs in zip(found, expected, strict=True):
            assert torch.allclose(mine[b, :kept].double(), theirs[b, :kept].double(), atol=1e-5)
        assert (found[1][b, kept:] == T).all()


def test_noise_embed_at_both_ends() -> None:
    table = torch.randn(5, 4)
    token = torch.tensor([[3, 1]])
    clean = eager.noise_embed(table, token, table.mean(0), table.std(0), torch.zeros(1, 2))
    assert torch.equal(clean, table[token])
    still = eager.noise_embed(table, token, table.mean(0), torch.zeros(4), torch.ones(1, 2))
    assert torch.allclose(still, table.mean(0).expand(1, 2, 4))


def test_nearest_token() -> None:
    torch.manual_seed(0)
    state, table, bias = torch.randn(2, 3, 8), torch.randn(20, 8), torch.randn(20)
    found = eager.nearest_token(state, table, bias)
    assert torch.equal(found, sjd2_kernels.nearest_token(state, table, bias, backend="reference"))
