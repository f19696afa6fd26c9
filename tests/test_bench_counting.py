"""What is counted as an operation, as a wait of the host, as a vocabulary-sized result."""

from __future__ import annotations

import torch

from bench.counting import count


def test_views_are_free() -> None:
    x = torch.ones(4, 6)
    assert count(lambda: x[1:, ::2].transpose(0, 1).view(3, 3)[None], 99)["operations"] == 0


def test_operations_and_their_wide_results() -> None:
    x = torch.ones(4, 6)

    def call() -> None:
        y = x + 1  # 4 * 6 * 4 bytes
        y.mul_(2)  # in place: computes, and returns the same wide tensor
        y.sum(0).sum()  # 6 * 4 bytes, then a number

    assert count(call, 6) == {"operations": 4, "synchronisations": 0, "wide_bytes": 96 + 96 + 24}
    assert count(call, 7)["wide_bytes"] == 0


def test_reading_a_value_waits() -> None:
    x = torch.ones(4)

    def call() -> None:
        bool(x[0] > 0)
        float(x[1])
        int(x.sum())
        x[x > 0]

    assert count(call, 9)["synchronisations"] == 4


def test_waits_of_operators_that_hide_one() -> None:
    assert count(lambda: torch.nonzero(torch.ones(3)), 9)["synchronisations"] == 1
    assert count(lambda: torch.ones(3) * 2, 9)["synchronisations"] == 0
