"""Saw teeth: what a line of levels may look like, how often it is clean, what its segments stand for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sjd2.finetune.levels import Teeth


def line(teeth: Teeth, N: int, T: int, seed: int) -> np.ndarray:
    return teeth.levels(N, T, np.random.default_rng(seed))


def complaints(levels: np.ndarray, T: int) -> list[str]:
    """What breaks the saw-tooth: levels rise by one, fall to zero, and start anew from zero only."""
    found = [f"{level} is no level" for level in levels if not 0 <= level <= T]
    for a, b in itertools.pairwise(levels):
        if not (b == a or b == a + 1 or b == 0 or a == 0):
            found.append(f"{b} after {a}")
    return found


@given(
    N=st.integers(1, 300), T=st.integers(1, 25), L=st.integers(1, 130), seed=st.integers(0, 2**32),
    clean=st.floats(0, 1),
)  # fmt: skip
def test_levels_rise_by_one_and_fall_to_zero(N: int, T: int, L: int, seed: int, clean: float) -> None:
    levels = line(Teeth.around(L, T, clean), N, T, seed)
    assert levels.shape == (N,)
    assert levels.dtype == np.int32
    assert not complaints(levels, T)


def test_the_check_can_fail() -> None:
    assert complaints(np.array([0, 1, 3]), 3) == ["3 after 1"]
    assert complaints(np.array([2, 1]), 3) == ["1 after 2"]
    assert complaints(np.array([4, 0]), 3) == ["4 is no level"]


def test_the_same_source_gives_the_same_line() -> None:
    teeth = Teeth()
    assert np.array_equal(line(teeth, 200, 8, 3), line(teeth, 200, 8, 3))
    assert not np.array_equal(line(teeth, 200, 8, 3), line(teeth, 200, 8, 4))


@pytest.mark.parametrize("share", [0.0, 0.12, 1.0])
def test_a_share_of_sequences_is_clean(share: float) -> None:
    n = 600
    clean = sum(not line(Teeth(clean=share), 256, 8, seed).any() for seed in range(n))
    assert abs(clean - n * share) <= 4 * (n * share * (1 - share)) ** 0.5


@pytest.mark.parametrize(("L", "T"), [(96, 25), (128, 25), (32, 8)])
def test_most_segments_are_about_a_window_by_its_levels(L: int, T: int) -> None:
    """The median run of one level, inside a line and below T, where runs of several segments merge."""
    runs = []
    for seed in range(60):
        levels = line(Teeth.around(L, T, clean=0), 1000, T, seed)
        ends = np.flatnonzero(np.diff(levels)) + 1
        pieces = itertools.pairwise(ends)
        runs += [b - a for a, b in pieces if 0 < levels[a] < T and levels[b] == levels[a] + 1]
    assert 0.75 <= np.median(runs) / (L / T) <= 1.5


def test_every_level_and_clean_tokens_behind_noisy_ones_are_seen() -> None:
    lines = [line(Teeth.around(96, 25, clean=0), 2304, 25, seed) for seed in range(20)]
    assert set(np.concatenate(lines)) == set(range(26))
    assert all((np.diff(levels) < 0).any() for levels in lines)
    noisy = np.mean([np.mean(levels > 0) for levels in lines])
    assert 0.3 < noisy < 0.9
