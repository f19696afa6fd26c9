"""The test of equal laws: groups by hand, p of equal laws is uniform, other laws are found, and so with real decoders.

The negative control is both: of equal laws a share p is rejected at level p, and no more; plain decoding with other
seeds passes.
"""

from __future__ import annotations

import doctest
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from sjd2.decoder import Sampling
from sjd2.evaluation import same_law as module
from sjd2.evaluation.decoding import decode
from sjd2.evaluation.measure import Measure
from sjd2.evaluation.same_law import GROUPS, Pictures, group_counts, same_law
from sjd2.evaluation.settings import parse
from table_backbone import KINDS, Table


def test_groups_are_counts_of_tokens_and_of_both_kinds_of_neighbours() -> None:
    codes = torch.randint(0, 9, (5, 4, 6), generator=torch.Generator().manual_seed(1))
    found = np.array(group_counts(codes)).reshape(5, 3, GROUPS)
    assert (found.sum(-1) == [24, 20, 18]).all()
    for part, shift in ((0, (0, 0)), (1, (0, 1)), (2, (1, 0))):
        for one in product(range(9), range(9) if part else [0]):
            # pictures with one word only show its group
            flat = torch.full((1, 1 + shift[0], 1 + shift[1]), one[0])
            flat[0, -1, -1] = one[1] if part else one[0]
            (group,) = np.flatnonzero(np.array(group_counts(flat)).reshape(3, GROUPS)[part])
            there = codes[:, : 4 - shift[0], : 6 - shift[1]] == one[0]
            if part:
                there = there & (codes[:, shift[0] :, shift[1] :] == one[1])
            assert (found[:, part, group] >= there.flatten(1).sum(1).numpy()).all()


def test_groups_are_even() -> None:
    """No group holds the lot: 2,048 tokens and their pairs spread over all groups."""
    found = np.array(group_counts(torch.arange(2048).view(1, 32, 64))).reshape(3, GROUPS)
    for row in found:
        assert row.max() < 3 * row.sum() / GROUPS
        assert row.min() > row.sum() / GROUPS / 3


def drawn(rng: np.random.Generator, n: int, more: float = 0.0, bits: float = 0.0) -> Pictures:
    """Pictures of n prompts, each with a law of its own that both decodings share but for the shifts."""
    own = np.random.default_rng(5).uniform(0.5, 4, (n, 6))
    own[:, 0] += more
    return Pictures(rng.normal(own[:, 1] + bits, own[:, 2]).tolist(), rng.poisson(own).tolist())


def test_equal_laws_are_rejected_at_the_level_and_no_more() -> None:
    rng, repeats = np.random.default_rng(1), 600
    found = [same_law(drawn(rng, 24), drawn(rng, 24), swaps=199) for _ in range(repeats)]
    for p in ([v.p for v in found], [v.p_bits for v in found], [v.p_counts for v in found]):
        for level in (0.05, 0.2, 0.5, 0.8):
            share = np.mean(np.array(p) <= level)
            assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / repeats) + 1 / 200


@pytest.mark.parametrize("shift", [{"more": 2.0}, {"bits": 2.0}])
def test_other_laws_are_found(shift: dict[str, float]) -> None:
    rng = np.random.default_rng(2)
    found = [same_law(drawn(rng, 80, **shift), drawn(rng, 80), swaps=199) for _ in range(40)]
    assert np.mean([v.p <= 0.05 for v in found]) > 0.8
    other = "p_bits" if "more" in shift else "p_counts"
    assert np.mean([getattr(v, other) <= 0.05 for v in found]) < 0.3  # the statistic that the shift is none of


def test_the_smallest_p_and_determinism() -> None:
    rng = np.random.default_rng(3)
    one, other = drawn(rng, 60, bits=9), drawn(rng, 60)
    found = same_law(one, other, swaps=99)
    assert found.p_bits == 0.01
    assert 0.01 <= found.p <= 0.02  # two statistics, the better one counts
    assert found == same_law(one, other, swaps=99)
    assert found.pairs == 60
    same = same_law(one, one)
    assert (same.p, same.p_bits, same.p_counts) == (1, 1, 1)


def test_numbers_of_pictures_must_agree() -> None:
    rng = np.random.default_rng(4)
    with pytest.raises(ValueError, match="same number of pictures, at least one, got 3 and 4"):
        same_law(drawn(rng, 3), drawn(rng, 4))
    with pytest.raises(ValueError, match="at least one"):
        same_law(Pictures([], []), Pictures([], []))


TABLE = Table(V=3, width=3, height=2, seed=1)
PLAIN = Sampling(guidance=1.5)


@pytest.fixture(scope="module")
def pictures() -> Callable[[str, int, Sampling], Pictures]:
    """400 pictures of two prompts."""

    def draw(name: str, first: int, sampling: Sampling = PLAIN) -> Pictures:
        texts = [KINDS[i % 2] for i in range(400)]
        out = decode(TABLE, parse(name), texts, range(first, first + 400), sampling)

        class Given:
            def __init__(self, caption: str) -> None:
                self.caption = caption

        return Pictures(**Measure(TABLE, PLAIN).judge(out.tokens, [Given(text) for text in texts]))

    return draw


def test_decoders(pictures: Callable[..., Pictures]) -> None:
    """Lossless policies and plain decoding itself pass; sjd2 and another temperature do not."""
    reference = pictures("ar", -10_000)
    for name in ("ar", "coupled 4", "sjd 3", "sjd2-exact 3+1"):
        assert same_law(pictures(name, 1), reference).p > 0.01, name
    assert same_law(pictures("sjd2 4/2 linear nearest", 1), reference).p < 0.002
    assert same_law(pictures("ar", 1, Sampling(guidance=1.5, temperature=0.8)), reference).p < 0.002


def test_the_example_is_right() -> None:
    assert doctest.testmod(module).failed == 0
