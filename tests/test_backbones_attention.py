"""The plug into transformers: what it refuses, and that a model which carries our name still behaves as the library's
own.
"""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from sjd2.backbones import Attend
from sjd2.backbones.attention import NAME, attached, window_attention_forward
from sjd2.backbones.tiny import emu3_text_config, emu3_vq_config, randomise, tiny_emu3, tiny_lumina
from torch import Tensor, nn
from transformers import Emu3Config, Emu3ForConditionalGeneration, LlamaConfig, LlamaForCausalLM


def layer(**fields: Any) -> nn.Module:
    module = nn.Module()
    module.layer_idx, module.is_causal, module.num_key_value_groups = 0, True, 2
    for name, value in fields.items():
        setattr(module, name, value)
    return module


def inputs(M: int = 3, keys: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    keys = keys or M
    return torch.randn(1, 4, M, 8), torch.randn(1, 2, keys, 8), torch.randn(1, 2, keys, 8)


def window(S: int = 10) -> Attend:
    k, v = (torch.full((1, 1, 2, S, 8), float("nan")) for _ in range(2))
    zero = torch.zeros(1, dtype=torch.int32)
    return Attend(k, v, zero, zero)


def test_without_a_window_the_function_is_the_librarys_own() -> None:
    q, k, v = inputs()
    repeated = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    causal, _ = window_attention_forward(layer(), q, k, v, None)
    expected = nn.functional.scaled_dot_product_attention(q, *repeated, is_causal=True).transpose(1, 2)
    torch.testing.assert_close(causal, expected)
    both, _ = window_attention_forward(layer(is_causal=False), q, k, v, None, is_causal=False)
    torch.testing.assert_close(both, nn.functional.scaled_dot_product_attention(q, *repeated).transpose(1, 2))


def test_scale_defaults_to_one_over_the_root_of_the_head_size() -> None:
    q, k, v = inputs()
    state = window()
    torch.testing.assert_close(
        window_attention_forward(layer(), q, k, v, None, sjd2_window=state)[0],
        window_attention_forward(layer(), q, k, v, None, scaling=8**-0.5, sjd2_window=state)[0],
    )


@pytest.mark.parametrize(
    ("fields", "kwargs", "keys", "message"),
    [
        ({"is_causal": False}, {}, 3, "bidirectional"),
        ({}, {"is_causal": False}, 3, "bidirectional"),
        ({}, {"attention_mask": torch.ones(1, 1, 3, 3)}, 3, r"mask of shape \(1, 1, 3, 3\)"),
        ({}, {}, 5, "got 5 keys for 3 rows; call the model with use_cache=False"),
        ({}, {"dropout": 0.1}, 3, r"dropout 0.1; call model.eval\(\)"),
        ({}, {"sliding_window": 4}, 3, r"sliding window of 4, shorter than the cache \(10\)"),
        ({}, {"softcap": 30.0}, 3, "'softcap'"),
        ({}, {"s_aux": torch.zeros(4)}, 3, "'s_aux'"),
    ],
)
def test_what_would_be_silently_wrong_is_refused(
    fields: dict[str, Any], kwargs: dict[str, Any], keys: int, message: str
) -> None:
    q, k, v = inputs(keys=keys)
    kwargs = {"attention_mask": None, **kwargs}
    with pytest.raises(ValueError, match="window attention: .*" + message):
        window_attention_forward(layer(**fields), q, k, v, sjd2_window=window(), **kwargs)


def test_a_sliding_window_longer_than_the_cache_changes_nothing() -> None:
    q, k, v = inputs()
    plain = window_attention_forward(layer(), q, k, v, None, sjd2_window=window())[0]
    assert torch.equal(
        window_attention_forward(layer(), q, k, v, None, sjd2_window=window(), sliding_window=10)[0], plain
    )


@pytest.mark.parametrize("make", [tiny_lumina, tiny_emu3])
def test_a_model_that_carries_our_name_still_runs_as_before(make: Any) -> None:
    """Plain and padded calls, and generation with a cache, equal those with the library's own attention."""
    backbone = make(seed=4)
    ids = torch.randint(0, 16, (2, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)

    def run(**kwargs: Any) -> Tensor:
        with torch.no_grad():
            return backbone.text(input_ids=ids, **kwargs).last_hidden_state

    assert backbone.text.config._attn_implementation == NAME
    ours = run(), run(attention_mask=mask, position_ids=positions)
    backbone.text.set_attn_implementation({"": "sdpa"})
    theirs = run(), run(attention_mask=mask, position_ids=positions)
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[1][0, 2:], theirs[1][0, 2:])
    torch.testing.assert_close(ours[1][1], theirs[1][1])
    assert (ours[0][0] - ours[1][0]).abs().max() > 0.01  # the mask mattered


def test_padding_beside_a_window_is_refused() -> None:
    backbone = tiny_emu3()
    rows = torch.randn(1, 3, 64)
    with pytest.raises(ValueError, match="attention mask of shape"):
        backbone.text(
            inputs_embeds=rows, attention_mask=torch.tensor([[0, 1, 1]]), use_cache=False, sjd2_window=window()
        )


def test_only_the_text_configuration_changes_and_comes_back() -> None:
    """Emu3's picture model has attention of its own, bidirectional, which must not be caught."""
    config = Emu3Config(
        text_config=emu3_text_config().to_dict(),
        vq_config=emu3_vq_config().to_dict(),
        vocabulary_map={"<image>": 9, "<|extra_200|>": 6, "<|visual token 000000|>": 8},
    )
    model = randomise(Emu3ForConditionalGeneration(config), 0).eval()
    codes = torch.tensor([[[0, 1], [2, 3]]])
    before = model.model.vqmodel.decode(codes)
    text = model.model.text_model
    previous = text.config._attn_implementation
    with attached(text):
        assert text.config._attn_implementation == NAME
        assert model.model.vqmodel.config._attn_implementation != NAME
        assert torch.equal(model.model.vqmodel.decode(codes), before)
    assert text.config._attn_implementation == previous
    with pytest.raises(KeyError), attached(text):
        raise KeyError
    assert text.config._attn_implementation == previous


def test_any_causal_model_of_the_library_can_be_attached() -> None:
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = randomise(LlamaForCausalLM(config), 0).eval().model
    ids = torch.arange(9)[None]
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).last_hidden_state
    k, v = (torch.full((2, 1, 2, 9, 16), float("nan")) for _ in range(2))
    zero = torch.zeros(1, dtype=torch.int32)
    mask = torch.empty(0, 0, 0, 0)
    with attached(model), torch.no_grad():
        got = model(
            inputs_embeds=model.embed_tokens(ids),
            attention_mask=mask,
            use_cache=False,
            sjd2_window=Attend(k, v, zero, zero),
        )
    torch.testing.assert_close(got.last_hidden_state, expected, rtol=1e-4, atol=1e-5)


def test_levels_without_timesteps_and_timesteps_without_levels_read_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(*args: Any, **kwargs: Any) -> Tensor:
        seen.append(args[8:11])
        return torch.zeros(1, 3, 4, 8)

    monkeypatch.setattr(torch.ops, "sjd2", types.SimpleNamespace(window_attention=record))
    q, k, v = inputs()
    state = window()
    state.level = torch.zeros(1, 3, dtype=torch.int32)
    window_attention_forward(layer(), q, k, v, None, sjd2_window=state)
    state.level, state.time_k, state.time_v = None, [torch.zeros(2, 2, 8)], [torch.zeros(2, 2, 8)]
    window_attention_forward(layer(), q, k, v, None, sjd2_window=state)
    assert seen == [(None, None, None)] * 2
