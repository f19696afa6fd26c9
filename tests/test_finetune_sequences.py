"""Training sequences: the prompt that decoding writes, and the tokens that it would generate."""

from __future__ import annotations

import pytest
import torch
from _tuning import FAMILIES, codes
from sjd2.finetune.sequences import picture_tokens, sequences, without_caption


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sequence_is_prompt_and_picture(family: str) -> None:
    backbone = FAMILIES[family]()
    grid, pictures = backbone.grid(), codes(backbone, 3)
    texts = ["ab", "abba", None]
    tokens, prompt = sequences(backbone, grid, texts, pictures)
    heads = [row.cond for row in backbone.encode(["ab", "abba"])] + [without_caption(backbone, grid)]
    assert prompt.tolist() == [len(head) for head in heads]
    assert tokens.shape == (3, int(prompt.max()) + grid.n_tokens)
    for row, head, picture in zip(tokens, heads, pictures, strict=True):
        assert row[: len(head)].tolist() == list(head)
        line = row[len(head) : len(head) + grid.n_tokens]
        assert torch.equal(backbone.codes(line, grid), picture)
        forced = grid.forced >= 0
        assert torch.equal(line[forced], backbone.ids[grid.forced[forced]])
        assert not row[len(head) + grid.n_tokens :].any()


def test_a_dropped_caption_says_as_little_as_the_model_can() -> None:
    """Lumina's own unconditional row is one separator; Emu3's is a text of bad qualities, which is not taught."""
    lumina, emu3 = (FAMILIES[family]() for family in ("lumina", "emu3"))
    assert without_caption(lumina, lumina.grid()) == lumina.encode([""])[0].uncond == (12,)
    bare = without_caption(emu3, emu3.grid())
    assert bare == emu3.encode([""], negative_prompt="")[0].uncond
    assert len(bare) < len(emu3.encode([""])[0].uncond or ())


def test_another_size_and_a_rounded_length() -> None:
    backbone = FAMILIES["emu3"]()
    grid = backbone.grid((4, 6))
    tokens, prompt = sequences(backbone, grid, ["a"], torch.zeros(1, 3, 2, dtype=torch.int64), multiple=16)
    assert tokens.shape == (1, -(-(int(prompt) + grid.n_tokens) // 16) * 16)
    assert tuple(tokens[0, : int(prompt)].tolist()) == backbone.encode(["a"], size=(4, 6))[0].cond
    fixed, _ = sequences(backbone, grid, ["a"], torch.zeros(1, 3, 2, dtype=torch.int64), length=70)
    assert fixed.shape == (1, 70)


def test_what_does_not_fit_is_named() -> None:
    backbone = FAMILIES["lumina"]()
    grid, pictures = backbone.grid(), codes(backbone, 1)
    with pytest.raises(ValueError, match=r"prompt of 9 tokens does not fit: 40 rows are 7 for the .* shorten 'ab'"):
        sequences(backbone, grid, ["ab"], pictures, length=40)
    with pytest.raises(ValueError, match=r"does not fit: 256 rows are 223 for the prompt"):
        sequences(backbone, grid, ["a" * 300], pictures)
    with pytest.raises(ValueError, match=r"shape \[B, 4, 6\] for tiny-lumina pictures of 12x8 pixels, got \(1, 6, 4\)"):
        picture_tokens(backbone, grid, pictures.transpose(1, 2))
    with pytest.raises(ValueError, match=r"codes must be in 0\.\.7, got 8\.\.8"):
        picture_tokens(backbone, grid, torch.full_like(pictures, 8))
