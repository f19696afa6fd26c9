"""The scan over kept drafts, and the choice of each slot's law. What they are for: tests/test_decoder_table.py."""

from __future__ import annotations

import torch
from sjd2 import shadow


def test_the_scan_equals_a_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    plain, other = (torch.rand(200, 13, generator=draw) < 0.5 for _ in range(2))
    expected = torch.empty_like(plain)
    for b in range(len(plain)):
        before = True
        for j in range(13):
            before = bool(plain[b, j]) if before else bool(other[b, j])
            expected[b, j] = before
    assert torch.equal(shadow.kept(plain, other), expected)


def test_a_slot_takes_the_shadow_law_where_its_left_neighbour_lost_its_draft() -> None:
    draft = torch.tensor([[1, 2, 3, 4, 5]])
    plain = torch.tensor([[1, 9, 9, 4, 5]])  # slot 1 is rejected
    other = torch.tensor([[7, 7, 3, 4, 7]])  # and slot 2 is accepted under the law that does not know slot 1
    tokens, left = shadow.choose(draft, plain, other)
    assert tokens.tolist() == [[1, 9, 3, 4, 5]]
    assert left.tolist() == [[True, True, False, True, True]]
    other[0, 2] = 8  # rejected there too: slot 3 takes the shadow law as well
    other[0, 3] = 6
    tokens, left = shadow.choose(draft, plain, other)
    assert tokens.tolist() == [[1, 9, 8, 6, 7]]
    assert left.tolist() == [[True, True, False, False, False]]
