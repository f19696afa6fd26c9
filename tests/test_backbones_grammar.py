"""Prompts and grids of Lumina-mGPT and Emu3, against literal restatements of the published constraint code."""

from __future__ import annotations

import pytest
import torch
from sjd2.backbones import Emu3, Emu3Card, LuminaCard, LuminaMGPT, TransformersBackbone
from sjd2.backbones.tiny import chameleon_config, emu3_text_config, tiny_emu3, tiny_lumina
from torch import nn


def published(kind: str) -> TransformersBackbone:
    """The published card over a model that is wide enough for its ids and else as small as can be."""
    from transformers import ChameleonForConditionalGeneration, Emu3ForCausalLM

    lumina = kind == "lumina"
    config = chameleon_config(max_positions=4096) if lumina else emu3_text_config(max_positions=9216)
    config.vocab_size = 65_536 if lumina else 184_622
    config.hidden_size, config.num_attention_heads, config.num_key_value_heads, config.num_hidden_layers = 8, 1, 1, 1
    with torch.device("meta"):
        model = (ChameleonForConditionalGeneration if lumina else Emu3ForCausalLM)(config)
    for module in (model.model.embed_tokens, model.lm_head):
        module.weight = nn.Parameter(torch.zeros(config.vocab_size, 8))

    def tokenize(text: str) -> list[int]:
        return [9000 + byte for byte in text.encode()]

    return LuminaMGPT(model, tokenize) if lumina else Emu3(model, tokenize)


@pytest.fixture(scope="module")
def lumina() -> TransformersBackbone:
    return published("lumina")


@pytest.fixture(scope="module")
def emu3() -> TransformersBackbone:
    return published("emu3")


def forced_ids(backbone: TransformersBackbone, size: tuple[int, int] | None) -> list[int]:
    """Model id per position, -1 where free."""
    forced = backbone.grid(size).forced
    return torch.where(forced < 0, forced, backbone.ids[forced.clamp(min=0)]).tolist()


def test_published_sizes_have_the_published_lengths(lumina: TransformersBackbone, emu3: TransformersBackbone) -> None:
    assert lumina.grid().n_tokens == 2357
    assert (lumina.grid().height, lumina.grid().width) == (48, 48)
    assert emu3.grid().n_tokens == 8193
    assert (emu3.grid().height, emu3.grid().width) == (90, 90)
    assert lumina.V == 8192
    assert emu3.V == 32_768
    assert lumina.ids[0] == 4
    assert lumina.ids[8191] == 8195
    assert emu3.ids[0] == 151_854
    assert emu3.ids[32_767] == 184_621


@pytest.mark.parametrize("size", [None, (768, 768), (512, 512), (1024, 640), (384, 1152), (32, 64)])
def test_lumina_grid_follows_the_published_constraint(
    lumina: TransformersBackbone, size: tuple[int, int] | None
) -> None:
    width, height = size or (768, 768)
    h_grids, w_grids = height // 32, width // 32
    h_latent, w_latent = h_grids * 2, w_grids * 2
    got = forced_ids(lumina, size)
    assert got[:3] == [8197, 8804 + h_grids, 8804 + w_grids]
    tokens: list[int] = []  # after the size tokens, as the published processor counts them
    for forced in got[3:]:
        if (len(tokens) + 1) % (w_latent + 1) == 0:
            expected = 8803
        elif len(tokens) + 1 == (w_latent + 1) * h_latent + 1:
            expected = 8196
        elif len(tokens) == (w_latent + 1) * h_latent + 1:
            expected = 8710
        else:
            expected = -1
        assert forced == expected, len(tokens)
        tokens.append(forced)
    assert len(tokens) == (w_latent + 1) * h_latent + 2


@pytest.mark.parametrize("size", [None, (720, 720), (640, 480), (24, 16), (400, 1200)])
def test_emu3_grid_follows_the_published_constraint(emu3: TransformersBackbone, size: tuple[int, int] | None) -> None:
    """At widths of 1 and 2 codes the published code repeats the end of line in the tail; from 3 on it does what it
    means.
    """
    width, height = (s // 8 for s in (size or (720, 720)))
    got = forced_ids(emu3, size)
    for n, forced in enumerate(got):
        offset = n + 1  # the image token itself is at offset 0
        if offset % (width + 1) == 0:
            expected = 151_846
        elif offset == (width + 1) * height + 1:
            expected = 151_847
        elif offset == (width + 1) * height + 2:
            expected = 151_853
        elif offset == (width + 1) * height + 3:
            expected = 151_850
        else:
            expected = -1
        assert forced == expected, offset
    assert len(got) == (width + 1) * height + 3


def text(string: str) -> tuple[int, ...]:
    return tuple(9000 + byte for byte in string.encode())


def test_lumina_prompts(lumina: TransformersBackbone) -> None:
    one, two = lumina.encode(["a cat", "ein Hund"])
    words = "Generate an image of 768x768 according to the following prompt:\na cat"
    assert one.cond == (0, *text(words), 8710)
    assert one.uncond == (8710,)
    assert two.cond[-9:] == (*text("ein Hund"), 8710)
    wide = lumina.encode(["a"], size=(1024, 640), negative_prompt="bad")[0]
    assert wide.cond[1:27] == text("Generate an image of 1024x")
    assert wide.uncond == (0, *text("Generate an image of 1024x640 according to the following prompt:\nbad"), 8710)
    assert lumina.encode(["a"], guidance=False)[0].uncond is None


def test_emu3_prompts(emu3: TransformersBackbone) -> None:
    one = emu3.encode(["a cat"])[0]
    suffix = (151_852, *text("90*90"), 151_851)
    assert one.cond == (151_849, *text("a cat masterpiece, film grained, best quality."), *suffix)
    assert one.uncond is not None
    assert one.uncond == (151_849, *text(Emu3Card().negative), *suffix)
    assert Emu3Card().negative.startswith("lowres, bad anatomy")
    assert Emu3Card().negative.endswith("username, blurry.")
    wide = emu3.encode(["a"], size=(640, 480), negative_prompt="bad")[0]
    assert wide.cond[-7:] == (151_852, *text("60*80"), 151_851)  # rows first
    assert wide.uncond == (151_849, *text("bad"), 151_852, *text("60*80"), 151_851)
    assert emu3.encode(["a"], guidance=False)[0].uncond is None


@pytest.mark.parametrize("size", [(760, 768), (768, 0), (-32, 32), (32 * 65, 32)])
def test_lumina_refuses_sizes_without_a_size_token(lumina: TransformersBackbone, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 32 from 32 to 2048 pixels, got {size[0]}x{size[1]}"):
        lumina.grid(size)


@pytest.mark.parametrize("size", [(721, 720), (0, 720), (8, -8)])
def test_emu3_refuses_sizes_between_codes(emu3: TransformersBackbone, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"positive multiples of 8 pixels, got {size[0]}x{size[1]}"):
        emu3.grid(size)


def test_pictures_longer_than_the_model_are_refused(lumina: TransformersBackbone) -> None:
    with pytest.raises(ValueError, match="1024x1024 pixels has 4165 tokens, the model knows 4096 positions"):
        lumina.grid((1024, 1024))


@pytest.mark.parametrize("make", [tiny_lumina, tiny_emu3])
@pytest.mark.parametrize("size", [None, (16, 4), (4, 20)])
def test_codes_come_back_from_generated_tokens(make: type, size: tuple[int, int] | None) -> None:
    backbone = make()
    grid = backbone.grid(size)
    codes = torch.randint(0, backbone.V, (2, grid.height, grid.width), generator=torch.Generator().manual_seed(0))
    local = grid.forced.repeat(2, 1)
    local[:, grid.forced < 0] = codes.flatten(1)
    tokens = backbone.ids[local]
    assert torch.equal(backbone.codes(tokens, grid), codes)
    pictures = backbone.images(codes)
    assert len(pictures) == 2
    assert pictures[0].size == grid.size == (size or backbone.default_size)
    tokens[1, int((grid.forced < 0).nonzero()[2])] = -1
    with pytest.raises(ValueError, match=f"1 of {codes.numel()} positions hold no image token"):
        backbone.codes(tokens, grid)


def test_published_defaults_and_their_exceptions() -> None:
    lumina, emu3 = LuminaCard().defaults, Emu3Card().defaults
    assert lumina.of("sjd2") == {
        "window": 96,
        "denoise_steps": 25,
        "spacing": "karras",
        "guidance": 3.0,
        "temperature": 1.0,
        "top_k": 2000,
        "top_p": 1.0,
    }
    assert lumina.of("sjd")["window"] == 16
    assert emu3.of("sjd2")["window"] == 128
    assert emu3.of("ar")["top_k"] == 2048


def test_ids_outside_the_embedding_table_are_refused() -> None:
    backbone = tiny_lumina()
    holder = nn.Module()
    holder.model, holder.lm_head = backbone.text, backbone.lm_head
    with pytest.raises(ValueError, match=r"ids must be in 0\.\.41, got 4\.\.8868"):
        LuminaMGPT(holder, backbone.tokenize, LuminaCard(V=8))
    with pytest.raises(ValueError, match="image_ids must hold 8192 ids, got 3"):
        LuminaMGPT(holder, backbone.tokenize, image_ids=[1, 2, 3])


@pytest.mark.parametrize("make", [tiny_lumina, tiny_emu3])
def test_memory_counts_weights_once_and_the_cache_per_position(make: type) -> None:
    backbone = make(dtype=torch.bfloat16)
    held = sum(p.numel() for p in [*backbone.text.parameters(), *backbone.lm_head.parameters()]) * 2
    d = backbone.dims
    assert backbone.memory().weights == held
    k = torch.zeros(d.layers, 3, d.Hkv, 50, d.D, dtype=torch.bfloat16)
    assert backbone.memory().cache(3, 50) == 2 * k.numel() * 2
