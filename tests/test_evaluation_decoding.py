"""Decoding a batch with a setting: steps are counted, the picture is the same in any batch, NaN is an error."""

from __future__ import annotations

import pytest
import torch
from sjd2.decoder import Sampling
from sjd2.evaluation.decoding import decode
from sjd2.evaluation.settings import parse
from sjd2.pipeline import Pipeline
from toy_backbone import Toy

TOY = Toy(dtype=torch.float32)


@pytest.mark.parametrize("name", ["ar", "coupled 4", "sjd2 4/2 linear nearest", "sjd2-exact 3+2"])
def test_the_same_picture_in_any_batch_and_by_generate(name: str) -> None:
    setting, texts, seeds = parse(name), ["ab", "c", "ddd"], [5, 6, -7]
    sampling, grid = Sampling(guidance=1.5), TOY.grid((3, 4))
    together = decode(TOY, setting, texts, seeds, sampling, grid)
    alone = decode(TOY, setting, texts[2:], seeds[2:], sampling, grid)
    assert together.tokens.shape == (3, grid.n_tokens)
    assert torch.equal(together.tokens[2:], alone.tokens)
    assert together.steps[2] == alone.steps[0]
    assert (together.steps >= grid.n_tokens / setting.window - 1).all()
    assert together.seconds > 0
    if name != "sjd2 4/2 linear nearest":  # generate knows no word for the time grid
        out = Pipeline(TOY).generate(
            texts,
            setting.policy,
            None if name == "ar" else setting.window,
            guidance=1.5,
            size=(3, 4),
            seed=seeds,
            draw=False,
        )
        assert torch.equal(out.tokens, together.tokens)
        assert torch.equal(out.steps, together.steps)


def test_the_models_own_grid() -> None:
    assert decode(TOY, parse("ar"), ["a"], [1], Sampling()).tokens.shape == (1, TOY.grid().n_tokens)


def test_logits_that_are_not_finite_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Toy.head
    monkeypatch.setattr(Toy, "head", lambda self, hidden: head(self, hidden) * float("nan"))
    with pytest.raises(ValueError, match="eval: sjd: the logits of a picture were not finite"):
        decode(TOY, parse("sjd 2"), ["a"], [1], Sampling())
