"""The ar policy against transformers' own `generate`, token for token: tiny Chameleon and Emu3 in float64, greedy.

There the two rows of guidance are rows of one left-padded batch, and a logits processor does guidance and grid; prompts
of different lengths are padded, with a cache of the library's own.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sjd2.backbones import Prompt, TransformersBackbone
from sjd2.backbones.attention import attach
from sjd2.backbones.tiny import tiny_emu3, tiny_lumina
from sjd2.grid import Grid
from sjd2.pipeline import Pipeline
from torch import Tensor
from transformers import ChameleonForConditionalGeneration, Emu3ForCausalLM, GenerationConfig, LogitsProcessor
from transformers.modeling_outputs import CausalLMOutputWithPast

TEXTS = ["a", "longer words", "mid one"]


class Unmasked(ChameleonForConditionalGeneration):
    """The library's forward sets the logits of all image tokens to their minimum; this one does not."""

    def forward(self, **inputs: Any) -> CausalLMOutputWithPast:
        inputs.pop("logits_to_keep", None)
        out = self.model(**inputs)
        return CausalLMOutputWithPast(logits=self.lm_head(out.last_hidden_state), past_key_values=out.past_key_values)


class GuidedGrid(LogitsProcessor):
    """Conditional rows first; both rows of an image get the guided scores of the tokens that the grid allows."""

    def __init__(self, grid: Grid, ids: Tensor, V: int, start: int, guidance: float):
        self.grid, self.ids, self.V, self.start, self.guidance = grid, ids, V, start, guidance

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        forced = int(self.grid.forced[input_ids.shape[1] - self.start])
        cond, uncond = scores.chunk(2)
        guided = uncond + self.guidance * (cond - uncond)
        allowed = self.ids[: self.V] if forced < 0 else self.ids[forced, None]
        out = torch.full_like(guided, -torch.inf)
        out[:, allowed] = guided[:, allowed]
        return out.repeat(2, 1)


def library(backbone: TransformersBackbone, prompts: list[Prompt], grid: Grid, guidance: float) -> Tensor:
    """[B, N] tokens of `generate`."""
    kind = Unmasked if "lumina" in backbone.name else Emu3ForCausalLM
    model = kind(backbone.text.config).eval()
    model.model, model.lm_head = backbone.text, backbone.lm_head
    rows = [p.cond for p in prompts] + [p.uncond or () for p in prompts]
    P = max(map(len, rows))
    ids = torch.tensor([[0] * (P - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (P - len(row)) + [1] * len(row) for row in rows])
    assert (mask == 0).any()
    config = GenerationConfig(do_sample=False, max_new_tokens=grid.n_tokens, eos_token_id=None, pad_token_id=0)
    processor = GuidedGrid(grid, backbone.ids, backbone.V, P, guidance)
    backbone.text.set_attn_implementation({"": "sdpa"})
    try:
        out = model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config, logits_processor=[processor], use_cache=True
        )
    finally:
        attach(backbone.text)
    assert torch.equal(out[: len(prompts)][:, P:], out[len(prompts) :][:, P:])
    return out[: len(prompts), P:]


@pytest.mark.parametrize("make", [tiny_lumina, tiny_emu3])
@pytest.mark.parametrize("size", [None, (16, 4), (4, 12)])
def test_greedy_ar_is_the_librarys_generate(make: Any, size: tuple[int, int] | None) -> None:
    """At the model's own size and others; pictures have the size that was asked for."""
    backbone = make(dtype=torch.float64, seed=5)
    grid = backbone.grid(size)
    expected = library(backbone, backbone.encode(TEXTS, size=size), grid, 2.5)
    out = Pipeline(backbone).generate(TEXTS, "ar", size=size, guidance=2.5, temperature=0.0, top_k=0)
    assert torch.equal(out.tokens, expected)
    assert [picture.size for picture in out.images] == [size or backbone.default_size] * 3
    assert len(out.tokens.unique()) > 4
    assert not torch.equal(out.tokens[0], out.tokens[1])


@pytest.mark.parametrize("make", [tiny_lumina, tiny_emu3])
def test_a_negative_prompt_is_the_unconditional_row(make: Any) -> None:
    backbone = make(dtype=torch.float64, seed=5)
    own, other = backbone.encode(TEXTS), backbone.encode(TEXTS, negative_prompt="nothing")
    assert own[0].uncond != other[0].uncond
    expected = library(backbone, other, backbone.grid(), 2.5)
    out = Pipeline(backbone).generate(TEXTS, "ar", negative_prompt="nothing", guidance=2.5, temperature=0.0, draw=False)
    assert torch.equal(out.tokens, expected)
    assert not torch.equal(out.tokens, library(backbone, own, backbone.grid(), 2.5))
