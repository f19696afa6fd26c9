"""Decoding and judging batches: true pictures are perfect, and each number is what a hand count gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sjd2.decoder import Sampling
from sjd2.evaluation.records import decibels, merged
from sjd2.finetune.sequences import picture_tokens
from sjd2.heroes.captions import ATTRIBUTES
from sjd2.heroes.fit_codes import psnr
from sjd2.heroes.hero import compose, opaque
from sjd2.heroes.measure import KINDS, Measure, examples
from sjd2.heroes.model import Shape, build
from sjd2.heroes.stream import is_held_out

TINY = Shape(C=32, layers=1, H=2, ffn=32)


@pytest.fixture(scope="module")
def measure() -> Measure:
    return Measure(build("heroes-lumina", TINY), Sampling())


def tokens(measure: Measure, codes: np.ndarray) -> torch.Tensor:
    return picture_tokens(measure.backbone, measure.grid, torch.from_numpy(codes))


@pytest.mark.parametrize("kind", KINDS)
def test_true_pictures_are_perfect(measure: Measure, kind: str) -> None:
    given = examples(kind, 0, 8)
    found = measure.true(given)
    assert found["right"] == found["judged"]
    counts = np.array(list(found["slots"].values()))
    assert np.array_equal(counts[:, 0], counts[:, 1])
    assert counts[:, [0, 3]].sum() == sum(found["judged"]) > 30
    assert found["slots"]["background"][3:] == [0, 0, 0]
    assert ("exact" in found) == (kind == "flat")
    assert ("error" in found) == (not kind.endswith("short"))
    if kind == "flat":
        shown = compose([e.hero for e in given], [e.seed for e in given])
        assert found["exact"] == [8, 8]
        assert abs(decibels(found["error"]) - psnr(measure.codebook, shown)) < 1e-6


def test_kinds_show_the_same_held_out_heroes() -> None:
    heroes = [[(e.hero.background, e.hero.parts) for e in examples(kind, 4, 3)] for kind in KINDS]
    assert all(each == heroes[0] for each in heroes)
    for kind, options in KINDS.items():
        for each in examples(kind, 4, 3):
            assert is_held_out(each.hero)
            assert each.hero.mottled == options["mottled"]
            assert each.caption.startswith("the ") == options["full"]


def test_pictures_of_other_captions_are_not(measure: Measure) -> None:
    given = examples("flat", 0, 6)
    codes = measure.codebook.encode(compose([e.hero for e in given], [0] * 6))
    found = measure.judge(tokens(measure, codes[[1, 0, 2, 3, 4, 5]]), given)
    assert found["exact"] == [4, 6]
    assert found["right"][2:] == found["judged"][2:]
    assert all(right < judged for right, judged in zip(found["right"][:2], found["judged"][:2], strict=True))
    assert decibels(found["error"]) < 20


def test_on_a_mottled_background_the_error_is_that_of_the_hero(measure: Measure) -> None:
    given = examples("mottled", 0, 4)
    shown = compose([e.hero for e in given], [e.seed for e in given])
    own = opaque([e.hero for e in given])
    outside, inside = shown.copy(), shown.copy()
    outside[~own.reshape(4, 16, 2, 16, 2).any((2, 4)).repeat(2, 1).repeat(2, 2)] = 0
    inside[own] ^= 64
    whole, other, worse = (
        measure.judge(tokens(measure, measure.codebook.encode(x)), given)["error"] for x in (shown, outside, inside)
    )
    assert whole == other
    assert whole[1] == 3 * own.sum()
    assert worse[0] > 2 * whole[0]


def test_batches_add_up(measure: Measure) -> None:
    given = examples("flat", 0, 5)
    whole = measure.true(given)
    parts = merged([measure.true(given[:2]), measure.true(given[2:])])
    assert parts.pop("bits") == pytest.approx(whole.pop("bits"), abs=1e-3)
    assert parts == whole
    assert set(whole["slots"]) == set(ATTRIBUTES)
