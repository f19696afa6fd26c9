"""Noise on a batch: forced tokens stay clean, a sequence's levels depend on its own seed only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _tuning import FAMILIES, batch_of
from sjd2.finetune.batch import LEVELS, at_time, noisy, padded
from sjd2.finetune.levels import Teeth
from sjd2.schedule import time_grid

TEETH = Teeth.around(8, 4, clean=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_forced_tokens_are_clean_and_the_rest_follows_the_seed(family: str) -> None:
    backbone = FAMILIES[family]()
    forced, times = backbone.grid().forced, time_grid(4)
    batch = noisy(batch_of(backbone, ["a", "b", None]), forced, times, TEETH)
    for row, seed in zip(batch.level, batch.seed.tolist(), strict=True):
        drawn = TEETH.levels(len(forced), 4, np.random.Generator(np.random.Philox(key=[LEVELS, seed])))
        assert row.any()
        assert torch.equal(row, torch.from_numpy(drawn) * (forced < 0))
    assert (torch.from_numpy(drawn)[forced >= 0] > 0).any(), "the teeth alone would have put noise on forced tokens"
    assert torch.equal(batch.times, times)


def test_levels_do_not_depend_on_the_neighbours() -> None:
    backbone = FAMILIES["lumina"]()
    forced, times = backbone.grid().forced, time_grid(4)
    whole = batch_of(backbone, ["a", "b", "ab"])
    alone = noisy(whole.take(torch.tensor([2])), forced, times, TEETH)
    assert torch.equal(noisy(whole, forced, times, TEETH).level[2:], alone.level)


def test_at_time_every_chosen_token_has_the_same_noise() -> None:
    backbone = FAMILIES["emu3"]()
    forced = backbone.grid().forced
    batch = at_time(batch_of(backbone, ["a", "b"]), forced, 0.5, rows=3)
    assert torch.equal(batch.level, (forced < 0).int().expand(2, -1))
    assert batch.times is not None
    assert batch.times.tolist() == [0.0, 0.5, 1.0, 1.0]


def test_padding_adds_levels_that_no_token_has() -> None:
    assert padded(time_grid(2), 1).tolist() == time_grid(2).tolist()
    assert len(padded(time_grid(2), 25)) == 26


def test_a_batch_moves_as_a_whole() -> None:
    batch = batch_of(FAMILIES["emu3"](), ["a", "b"])
    assert batch.to("meta").times is None
    moved = at_time(batch, torch.full((21,), -1), 1.0).to("meta")
    assert all(value.is_meta for value in vars(moved).values())
