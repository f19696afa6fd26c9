"""The order of examples: a function of the position, whatever the processes and the batches."""

from __future__ import annotations

import numpy as np
import pytest
from sjd2.finetune.order import Order, shuffled, split

NUMBERS = np.arange(100, 140)


def test_every_epoch_is_another_permutation_of_all_pictures() -> None:
    order = Order(NUMBERS, seed=3)
    epochs = [[order[g].picture for g in range(40 * e, 40 * (e + 1))] for e in range(3)]
    assert all(sorted(epoch) == NUMBERS.tolist() for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [Order(NUMBERS, seed=4)[g].picture for g in range(40)] != epochs[0]
    assert [Order(NUMBERS, seed=3)[g] for g in (100, 3, 50)] == [order[g] for g in (100, 3, 50)]


def test_the_order_is_this_one_on_every_machine() -> None:
    assert shuffled(8, 0, 0).tolist() == [5, 4, 6, 7, 0, 1, 2, 3]
    assert shuffled(8, 1, 0).tolist() != shuffled(8, 0, 1).tolist()


@pytest.mark.parametrize("drop", [0.0, 0.1, 1.0])
def test_a_share_of_captions_is_dropped_anew_in_every_epoch(drop: float) -> None:
    order, n = Order(NUMBERS, drop=drop), 4000
    dropped = [order[g].dropped for g in range(n)]
    assert abs(sum(dropped) - drop * n) <= 4 * (n * drop * (1 - drop)) ** 0.5
    if drop == 0.1:
        assert len({order[g].picture for g in range(n) if dropped[g]}) == 40


def test_no_two_examples_share_their_noise() -> None:
    seeds = [Order(NUMBERS, seed=s)[g].seed for s in (0, 1) for g in range(200)]
    assert len(set(seeds)) == 400
    assert max(Order(NUMBERS, seed=2**22 - 1)[2**40 - 1]) < 2**63


def test_held_out_pictures_are_not_trained_on() -> None:
    train, apart = split(50, 8)
    assert len(apart) == 8
    assert sorted([*train, *apart]) == list(range(50))
    assert set(split(50, 4)[1]) <= set(apart)
    assert apart.tolist() != list(range(8))


def test_nothing_to_train_on_and_seeds_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="no picture is left to train on; give more pictures, or a smaller --held-out"):
        Order(split(8, 8)[0])
    with pytest.raises(ValueError, match=r"seed must be in 0\.\.4194303, got -1"):
        Order(NUMBERS, seed=-1)
