"""Held-out loss: the mean over chosen tokens, the same however many processes share the work."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sjd2.finetune.batch import Batch
from sjd2.finetune.validation import HeldOut
from torch import Tensor, nn

FORCED = torch.tensor([-1, 5, -1, -1])


class Losses(nn.Module):
    """Its loss of token i of the picture with seed s is s + i / 10; counts its calls."""

    calls = 0

    def forward(self, tokens: Tensor, prompt: Tensor, level: Tensor, seed: Tensor, times: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.calls += 1
        return seed[:, None].float() + torch.arange(4) / 10 + (times[1] if level.any() else 0)


def batch(n: int, t: float = 0.0) -> Batch:
    level = torch.full((n, 4), int(t > 0), dtype=torch.int32)
    return Batch(torch.zeros(n, 9, dtype=torch.int64), torch.ones(n), level, torch.arange(n), torch.tensor([0.0, t]))


def process(index: int = 0, count: int = 1) -> Any:
    """What is asked of an accelerator; the sums are kept apart, for the test to add."""
    return SimpleNamespace(process_index=index, num_processes=count, device="cpu", reduce=lambda x, reduction: x)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_all_examples_count_once(count: int, size: int) -> None:
    n = 7
    expected = (sum(range(n)) / n + (0 + 2 + 3) / 30) / math.log(2)
    total, calls = 0.0, set()
    for index in range(count):
        model = Losses()
        measure = HeldOut({"clean": batch(n)}, FORCED, size, process(index, count))
        total += measure(model)["clean"]
        calls.add(model.calls)
        assert model.training
    assert total == pytest.approx(expected, abs=1e-6)
    assert len(calls) == 1, "every process must call a sharded model equally often"


def test_every_set_is_measured_with_its_noise() -> None:
    found = HeldOut({"clean": batch(2), "t0.5": batch(2, 0.5)}, FORCED, 2, process())(Losses())
    assert found["t0.5"] - found["clean"] == pytest.approx(0.5 / math.log(2), abs=1e-6)
