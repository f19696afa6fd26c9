"""transformers users: `generate(custom_generate=...)` on a tiny Llama and a tiny Qwen, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import sjd2
import torch
from sjd2.backbones.tiny import randomise
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

SHAPE: dict[str, Any] = {
    "vocab_size": 11, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
    "eos_token_id": 9, "pad_token_id": 10, "bos_token_id": None,
}  # fmt: skip


@pytest.fixture(params=["llama", "qwen"])
def model(request: pytest.FixtureRequest) -> Any:
    made = (
        LlamaForCausalLM(LlamaConfig(**SHAPE)) if request.param == "llama" else Qwen2ForCausalLM(Qwen2Config(**SHAPE))
    )
    return randomise(made, 3).double().eval()


def prompts() -> dict[str, Tensor]:
    """Three prompts of different lengths, padded on the left."""
    ids = torch.tensor([[10, 10, 1, 2, 3], [10, 4, 5, 6, 7], [8, 1, 8, 2, 8]])
    return {"input_ids": ids, "attention_mask": (ids != 10).long()}


@pytest.mark.parametrize("policy", ["ar", "coupled", "sjd", "match", "jacobi", "sjd2-exact"])
def test_greedy_equals_transformers_token_for_token(model: Any, policy: str) -> None:
    """Stop tokens included: sequences end at different lengths, and the rest is padding."""
    expected = model.generate(**prompts(), do_sample=False, max_new_tokens=40)
    got = model.generate(
        **prompts(), do_sample=False, max_new_tokens=40, custom_generate=sjd2.custom_generate, policy=policy, window=7
    )
    assert torch.equal(got, expected)
    assert model.config._attn_implementation != "sjd2_window"  # the model is left as it was


def test_sampling_obeys_the_seed_and_is_the_same_for_match_and_ar(model: Any) -> None:
    def draw(**kwargs: Any) -> Tensor:
        return model.generate(
            **prompts(), do_sample=True, temperature=0.9, top_k=6, top_p=0.95, max_new_tokens=20,
            custom_generate=sjd2.custom_generate, **kwargs,
        )  # fmt: skip

    ar = draw(policy="ar", seed=5)
    assert torch.equal(draw(policy="match", window=6, seed=5), ar)
    assert not torch.equal(draw(policy="ar", seed=6), ar)
    torch.manual_seed(3)
    first = draw(policy="coupled")
    torch.manual_seed(3)
    assert torch.equal(draw(policy="coupled"), first)


def test_what_would_be_ignored_is_refused(model: Any) -> None:
    def call(**kwargs: Any) -> None:
        model.generate(**prompts(), max_new_tokens=4, custom_generate=sjd2.custom_generate, **kwargs)

    with pytest.raises(ValueError, match="RepetitionPenaltyLogitsProcessor is not supported"):
        call(repetition_penalty=1.5)
    with pytest.raises(ValueError, match="MaxTimeCriteria is not supported"):
        call(max_time=1.0)
    with pytest.raises(ValueError, match="policy must be one of"):
        call(policy="speculative")
