"""transformers users: `generate(custom_generate=...)` on a tiny Llama and a tiny Qwen, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import sjd2
import torch
from sjd2 import language_models
from sjd2.backbones.tiny import randomise
from sjd2.decoder import Decoder
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    EosTokenCriteria,
    LlamaConfig,
    LlamaForCausalLM,
    MaxLengthCriteria,
    Qwen2Config,
    Qwen2ForCausalLM,
    StoppingCriteriaList,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

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


def test_padding_may_stand_on_either_side(model: Any) -> None:
    """A prompt is what the mask keeps: the new tokens are those of the same prompts without padding."""
    left = prompts()
    right = {
        name: torch.stack([row[~keep.bool()].new_tensor([*row[keep.bool()], *row[~keep.bool()]])
                           for row, keep in zip(value, left["attention_mask"], strict=True)])
        for name, value in left.items()
    }  # fmt: skip
    assert right["attention_mask"][0].tolist() == [1, 1, 1, 0, 0]

    def new(inputs: dict[str, Tensor], **kwargs: Any) -> Tensor:
        return model.generate(
            **inputs, do_sample=True, max_new_tokens=12, custom_generate=sjd2.custom_generate, seed=[4, 5, 6], **kwargs
        )[:, inputs["input_ids"].shape[1] :]

    expected = new(left)
    assert torch.equal(new(right), expected)
    for b, (row, keep) in enumerate(zip(left["input_ids"], left["attention_mask"], strict=True)):
        ids = row[keep.bool()][None]
        alone = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, max_new_tokens=12,
            custom_generate=sjd2.custom_generate, seed=4 + b,
        )[:, ids.shape[1] :]  # fmt: skip
        n = alone.shape[1]
        assert torch.equal(alone[0], expected[b, :n])
        assert (expected[b, n:] == 10).all()


def test_a_stop_token_is_found_at_every_place_of_a_chunk(model: Any) -> None:
    """B17. Chunks of up to 7 tokens; for each sequence the place of the first stop token within its chunk is noted."""
    ids = torch.arange(9).repeat(12)[:, None]
    offsets, ended = set(), 0
    made: list[Decoder] = []
    for stop in (3, 5, 9):
        kwargs: dict[str, Any] = {
            "input_ids": ids, "attention_mask": torch.ones_like(ids), "do_sample": True, "temperature": 0.7,
            "max_new_tokens": 30, "custom_generate": sjd2.custom_generate, "window": 7, "seed": 100,
        }  # fmt: skip
        made.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(language_models, "Decoder", lambda *a, **k: made.append(Decoder(*a, **k)) or made[-1])
            free = model.generate(**kwargs, eos_token_id=None)
            out = model.generate(**kwargs, eos_token_id=stop)
        for b, (row, whole) in enumerate(zip(out[:, 1:], free[:, 1:], strict=True)):
            hits = (whole == stop).nonzero().flatten().tolist()
            n = hits[0] + 1 if hits else 30
            assert torch.equal(row[:n], whole[:n])
            assert (row[n:] == 10).all()
            ends = made[1].window.accepted[b].cumsum(0).tolist()
            chunk = next(i for i, end in enumerate(ends) if end >= n)
            if hits:
                ended += 1
                offsets.add((n - 1) - (ends[chunk - 1] if chunk else 0))
        assert out.shape[1] == 1 + max(made[1].window.n_tokens.tolist())
    assert offsets == set(range(7))
    assert ended > 100


def test_stop_tokens_and_lengths_of_ones_own_are_obeyed(model: Any) -> None:
    def both(**kwargs: Any) -> tuple[Tensor, Tensor]:
        args = {**prompts(), "do_sample": False, "max_new_tokens": 20, **kwargs}
        return model.generate(**args), model.generate(**args, custom_generate=sjd2.custom_generate, window=5)

    free = model.generate(**prompts(), do_sample=False, max_new_tokens=20, eos_token_id=None)
    stop = int(free[0, 8])
    for kwargs in (
        {"stopping_criteria": StoppingCriteriaList([EosTokenCriteria(stop)])},
        {"stopping_criteria": StoppingCriteriaList([MaxLengthCriteria(9)])},
        {"eos_token_id": [stop, int(free[1, 9])]},
        {"eos_token_id": None},
        {"num_return_sequences": 1},
    ):
        expected, got = both(**kwargs)
        assert torch.equal(got, expected), kwargs
    assert both(stopping_criteria=StoppingCriteriaList([MaxLengthCriteria(9)]))[1].shape[1] == 9


def test_several_sequences_per_prompt_have_seeds_of_their_own(model: Any) -> None:
    out = model.generate(
        **prompts(), do_sample=True, num_return_sequences=2, max_new_tokens=10, seed=3,
        custom_generate=sjd2.custom_generate,
    )  # fmt: skip
    assert out.shape[0] == 6
    assert torch.equal(out[0, :5], out[1, :5])
    assert not torch.equal(out[0], out[1])


def test_the_model_is_left_as_it_was(model: Any) -> None:
    """In training mode, with a frozen part in evaluation mode, also after an error; dropout would be refused."""
    model.train()
    model.model.layers[1].eval()
    before = {name: module.training for name, module in model.named_modules()}
    model.generate(**prompts(), max_new_tokens=3, custom_generate=sjd2.custom_generate)
    with pytest.raises(ValueError, match="policy must be one of"):
        model.generate(**prompts(), max_new_tokens=3, custom_generate=sjd2.custom_generate, policy="fast")
    with pytest.raises(ValueError, match="prompt 0 is too long"):
        model.generate(**prompts(), max_new_tokens=500, custom_generate=sjd2.custom_generate)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert model.config._attn_implementation != "sjd2_window"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetition_penalty": 1.5}, "RepetitionPenaltyLogitsProcessor is not supported"),
        ({"min_length": 7}, "MinLengthLogitsProcessor is not supported"),
        ({"guidance_scale": 2.0}, "UnbatchedClassifierFreeGuidanceLogitsProcessor is not supported"),
        ({"prefix_allowed_tokens_fn": lambda b, ids: [1]}, "PrefixConstrainedLogitsProcessor is not supported"),
        ({"do_sample": True, "min_p": 0.1}, "MinPLogitsWarper is not supported"),
        ({"do_sample": True, "typical_p": 0.5}, "TypicalLogitsWarper is not supported"),
        ({"max_time": 1.0}, "MaxTimeCriteria is not supported"),
        ({"num_beams": 2}, "generation mode beam_search is not supported"),
        ({"prompt_lookup_num_tokens": 3}, "generation mode assisted_generation is not supported"),
        ({"return_dict_in_generate": True}, "return_dict_in_generate is not supported"),
        ({"policy": "speculative"}, "policy must be one of"),
        ({"seed": [1, 2]}, "seed must be a number or one per row, got 2 for 3 rows"),
        ({"position_ids": torch.arange(5).expand(3, 5)}, "position_ids must count the tokens of each prompt from 0"),
        (
            {"do_sample": True, "top_k": 5, "logits_processor": [TopKLogitsWarper(3)]},
            "once each and in this order, got TopKLogitsWarper, TopKLogitsWarper",
        ),
        (
            {"do_sample": True, "top_k": 0, "temperature": 0.5, "logits_processor": [TopPLogitsWarper(0.9)]},
            "once each and in this order, got TopPLogitsWarper, TemperatureLogitsWarper",
        ),
        (
            {"do_sample": True, "top_k": 0, "logits_processor": [TopPLogitsWarper(0.9, min_tokens_to_keep=2)]},
            "min_tokens_to_keep",
        ),
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused(model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.generate(**prompts(), max_new_tokens=4, custom_generate=sjd2.custom_generate, **options)


def test_inputs_besides_tokens_are_refused(model: Any) -> None:
    ids = prompts()["input_ids"]
    with pytest.raises(ValueError, match="inputs_embeds is not supported"):
        model.generate(
            inputs_embeds=model.get_input_embeddings()(ids), attention_mask=torch.ones_like(ids), max_new_tokens=4,
            custom_generate=sjd2.custom_generate,
        )  # fmt: skip


SMALL = {
    "vocab_size": 11, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64, "pad_token_id": 10, "eos_token_id": 9, "bos_token_id": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gpt2", {"n_positions": 64}),
        ("gpt_neox", {"intermediate_size": 48}),
        ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
        ("gemma", {"intermediate_size": 48, "head_dim": 8, "num_key_value_heads": 2}),
        ("phi", {"intermediate_size": 48}),
        *((kind, {"intermediate_size": 48, "num_key_value_heads": 2}) for kind in ("mistral", "olmo2", "starcoder2")),
        *((kind, {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}) for kind in ("qwen3", "glm")),
    ],
)
def test_other_models_of_the_library(kind: str, options: dict[str, Any]) -> None:
    """Learned positions, fused projections, scaled embeddings, partial rotary embeddings."""
    made = randomise(AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL, **options)), 3)
    made = made.double().eval()
    expected = made.generate(**prompts(), do_sample=False, max_new_tokens=20)
    got = made.generate(**prompts(), do_sample=False, max_new_tokens=20, custom_generate=sjd2.custom_generate, window=6)
    assert torch.equal(got, expected)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("lfm2", {"intermediate_size": 48, "num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]},
         r"each of its 2 layers must attend once, those that did are \[1\]"),
        ("diffllama", {"intermediate_size": 48, "num_key_value_heads": 2},
         r"each of its 2 layers must attend once, those that did are \[0, 0, 1, 1\]"),
        ("mamba", {"state_size": 4}, "MambaModel has recurrent layers, whose state cannot be rolled back"),
        ("bloom", {}, "the layers of BloomModel do not use transformers' AttentionInterface"),
        ("stablelm", {"intermediate_size": 48, "num_key_value_heads": 2},
         "the model around StableLmAttention does not hand keyword arguments on"),
        ("bert", {"intermediate_size": 48, "is_decoder": True}, "its logits go through cls"),
        ("cohere", {"intermediate_size": 48}, "its logits go through logit_scale"),
        ("mistral", {"intermediate_size": 48, "num_key_value_heads": 2, "sliding_window": 8},
         "sliding window of 8, shorter than the cache"),
    ],
)  # fmt: skip
def test_models_that_would_be_decoded_wrongly_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL, **options)).eval()
    before = made.config._attn_implementation
    with pytest.raises(ValueError, match=message):
        made.generate(**prompts(), max_new_tokens=20, custom_generate=sjd2.custom_generate)
    assert made.config._attn_implementation == before
