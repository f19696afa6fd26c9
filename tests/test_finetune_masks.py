"""The masks of training: against loops over pairs, and the block mask of FlexAttention against the dense one."""

from __future__ import annotations

import pytest
import torch
from sjd2.finetune.masks import block_mask, dense_mask, row_levels
from torch import Tensor
from torch.nn.attention.flex_attention import create_mask, flex_attention

LEVEL = torch.tensor([[0, 0, 1, 1, 3, 0, 2], [0, 0, 0, 0, 0, 0, 3]], dtype=torch.int32)


def may_look(level: list[int], T: int, q: int, k: int) -> bool:
    """Whether row q sees row k, said in words."""
    if q < T:
        return k == q  # a timestep sees itself
    if k < T:
        return level[q - T] == k + 1  # and is seen by the rows of its level
    return k <= q  # the sequence is causal


def test_dense_mask_says_what_the_words_say() -> None:
    T, n = 3, LEVEL.shape[1]
    mask = dense_mask(LEVEL, T)
    assert mask.shape == (2, 1, T + n, T + n)
    for b in range(2):
        for q in range(T + n):
            for k in range(T + n):
                assert bool(mask[b, 0, q, k]) == may_look(LEVEL[b].tolist(), T, q, k), (b, q, k)


def large_case() -> tuple[Tensor, int]:
    """More rows than a block of 128 has, in both directions."""
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 26, (2, 300), generator=draw, dtype=torch.int32), 25


def test_block_mask_equals_the_dense_mask() -> None:
    level, T = large_case()
    n = T + level.shape[1]
    dense, blocks = dense_mask(level, T), block_mask(level, T)
    assert blocks.shape == (2, 1, n, n)
    assert torch.equal(create_mask(blocks.mask_mod, 2, 1, n, n, device="cpu"), dense)
    filled = torch.nn.functional.pad(dense, (0, 384 - n, 0, 384 - n)).view(2, 1, 3, 128, 3, 128).any(-1).any(3)
    assert torch.equal(blocks.to_dense().bool(), filled), "a block with a pair is visited, one without is not"
    assert not filled.all()


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_with_the_block_mask_equals_dense_attention() -> None:
    """In the form of FlexAttention that needs no compiler; it has no derivative on a CPU."""
    level, T = large_case()
    n = T + level.shape[1]
    draw = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, 2, n, 8, generator=draw, dtype=torch.float64) for _ in range(3))
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=dense_mask(level, T))
    torch.testing.assert_close(flex_attention(q, k, v, block_mask=block_mask(level, T)), dense, rtol=0, atol=1e-10)


def test_levels_of_rows_begin_behind_the_prompt() -> None:
    level = torch.tensor([[1, 2], [3, 0]])
    rows = row_levels(level, torch.tensor([1, 3]), 6)
    assert rows.tolist() == [[0, 1, 2, 0, 0, 0], [0, 0, 0, 3, 0, 0]]
