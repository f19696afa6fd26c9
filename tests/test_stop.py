"""What the host knows, and when: flags one call late, and the rules of the captured step."""

from __future__ import annotations

import pytest
import torch
from sjd2.stop import Graph, Latch


def test_the_latch_tells_what_was_true_one_call_ago() -> None:
    pos, done = torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int32)
    latch = Latch(pos, done)
    told = []
    for step in range(1, 6):
        pos.copy_(torch.tensor([3 * step, 2 * step]))
        done.copy_(torch.tensor([step >= 2, step >= 4]))
        told.append(latch())
    assert told == [
        (None, False),
        ([3, 2], False),
        ([6, 4], False),
        ([9, 6], False),
        ([12, 8], True),
    ]


def test_a_graph_needs_a_cuda_device() -> None:
    with pytest.raises(ValueError, match="graph=True needs a CUDA device, the model is on cpu"):
        Graph(lambda: None, torch.device("cpu"))
