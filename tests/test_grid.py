"""Token grids, against a position-by-position restatement."""

from __future__ import annotations

import pytest
import torch
from sjd2.grid import raster


def test_a_raster_without_grammar_is_all_free() -> None:
    grid = raster(3, 5, (40, 24))
    assert grid.forced.tolist() == [-1] * 15
    assert grid.n_tokens == 15


def test_head_rows_and_tail_are_where_they_belong() -> None:
    height, width, head, tail, eol = 4, 3, [50, 51], [60, 61, 62], 40
    grid = raster(height, width, (48, 64), head=head, eol=eol, tail=tail)
    for n, forced in enumerate(grid.forced.tolist()):
        t = n - len(head)
        if t < 0:
            assert forced == head[n]
        elif t >= height * (width + 1):
            assert forced == tail[t - height * (width + 1)]
        else:
            assert forced == (eol if t % (width + 1) == width else -1)
    tokens = torch.arange(2 * grid.n_tokens).reshape(2, -1)
    free = grid.free(tokens)
    assert free.shape == (2, height, width)
    for y in range(height):
        for x in range(width):
            assert free[1, y, x] == tokens[1, len(head) + y * (width + 1) + x]


def test_tokens_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="must have 4 entries on their last axis, got 5"):
        raster(2, 2, (2, 2)).free(torch.zeros(1, 5))
