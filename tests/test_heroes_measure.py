"""Decoding and judging batches: true pictures are perfect, and each number is what a hand count gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sjd2.decoder import Sampling
from sjd2.finetune.sequences import picture_tokens
from sjd2.heroes.captions import ATTRIBUTES
from sjd2.heroes.fit_codes import psnr
from sjd2.heroes.hero import compose, opaque
from sjd2.heroes.measure import KINDS, Measure, decibels, decode, examples, merged
from sjd2.heroes.model import Shape, build
from sjd2.heroes.settings import SETTINGS
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


def test_decoding_counts_steps_and_gives_the_same_picture_in_any_batch(measure: Measure) -> None:
    given = examples("mottled", 0, 3)
    texts, seeds = [e.caption for e in given], [5, 6, 7]
    for name in ("coupled 32", "sjd2 64/4 linear nearest", "sjd2-exact 24+8"):
        setting = SETTINGS[name]
        together = decode(measure.backbone, setting, texts, seeds, measure.sampling)
        alone = decode(measure.backbone, setting, texts[1:2], seeds[1:2], measure.sampling)
        assert together.tokens.shape == (3, measure.grid.n_tokens)
        assert torch.equal(together.tokens[1:2], alone.tokens)
        assert together.steps[1] == alone.steps[0]
        assert (together.steps >= measure.grid.n_tokens / setting.window - 1).all()
        assert (together.steps < measure.grid.n_tokens).all()
        assert together.seconds > 0
    found = measure.drawn(SETTINGS["coupled 32"], given, seeds)
    assert found["steps"] == decode(measure.backbone, SETTINGS["coupled 32"], texts, seeds, Sampling()).steps.tolist()
    assert all(10 < b < 12 for b in found["bits"])  # an untrained model: the laws are nearly uniform over 2,048


def test_logits_that_are_not_finite_are_an_error(measure: Measure) -> None:
    broken = build("heroes-lumina", TINY)
    with torch.no_grad():
        broken.lm_head.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        decode(broken, SETTINGS["coupled 96"], ["a"], [1], Sampling())
