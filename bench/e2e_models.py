"""Lumina-mGPT-7B and Emu3-8B by shape, with random weights: what a step costs does not depend on what they know.

The small scale has the same parts with few and narrow layers, for machines without a GPU and for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from sjd2.backbones.emu3 import Emu3, Emu3Card
from sjd2.backbones.lumina_mgpt import LuminaCard, LuminaMGPT
from sjd2.backbones.transformer import TransformersBackbone
from transformers import (
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    Emu3ForCausalLM,
    Emu3TextConfig,
    PreTrainedModel,
)

PROMPT = "a lighthouse on a cliff above the sea at dusk, oil on canvas"
DEVIATION = 0.02


@dataclass(frozen=True)
class Shape:
    """What sizes a model: layers, channels, width of the feed-forward layer, heads, vocabulary, longest sequence."""

    layers: int
    C: int
    wide: int
    H: int
    Hkv: int
    vocabulary: int
    positions: int


@dataclass(frozen=True)
class Paper:
    """SJD2's tables: steps per picture by (policy, window), and milliseconds per step on one A100, batch 1."""

    steps: dict[tuple[str, int], int]
    milliseconds: dict[tuple[str, int], float]


SHAPES = {
    ("lumina", "full"): Shape(32, 4096, 11_008, 32, 32, 65_536, 4096),
    ("emu3", "full"): Shape(32, 4096, 14_336, 32, 8, 184_622, 9216),
    ("lumina", "small"): Shape(2, 128, 344, 4, 4, 9000, 4096),
    ("emu3", "small"): Shape(2, 128, 448, 4, 1, 4200, 9216),
}
MODELS = ("lumina", "emu3")
SCALES = ("full", "small")
PAPER = {
    "lumina": Paper(
        {("ar", 1): 2357, ("sjd", 16): 1060, ("sjd2", 96): 592},
        {("ar", 1): 37.6, ("sjd", 16): 39.7, ("sjd2", 96): 56.4},
    ),
    "emu3": Paper(
        {("ar", 1): 8193, ("sjd", 16): 3528, ("sjd2", 128): 1461},
        {("ar", 1): 45.8, ("sjd", 16): 58.7, ("sjd2", 128): 100.4},
    ),
}


def build(name: str, scale: str, device: str) -> tuple[PreTrainedModel, TransformersBackbone]:
    """A model of transformers with random weights, and the backbone over it.

    Args:
        name: "lumina" or "emu3". scale: "full" (bfloat16) or "small" (float32). device: of the weights.
    """
    shape = SHAPES[name, scale]
    dtype = torch.bfloat16 if scale == "full" else torch.float32
    make = _lumina if name == "lumina" else _emu3
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # so that no weight is ever held in a wider type
    try:
        with torch.device(device):
            model, backbone = make(shape, scale)
    finally:
        torch.set_default_dtype(before)
    torch.manual_seed(0)
    with torch.no_grad():
        for word, weight in model.named_parameters():
            if weight.dim() >= 2 and "norm" not in word:
                weight.normal_(std=DEVIATION)
    model.requires_grad_(False)
    return model.eval(), backbone


def _tokenize(text: str) -> list[int]:
    """One id a word, all alike: the prompt's words do not matter, their number does."""
    return [10] * len(text.split())


def _lumina(shape: Shape, scale: str) -> tuple[Any, TransformersBackbone]:
    card = LuminaCard(name=f"lumina-mgpt-7b ({scale})")
    names = {f"IMGIMG{''.join('ABCDEFGHIJ'[int(d)] for d in str(code))}Z": 4 + code for code in range(card.V)}
    config = ChameleonConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.C,
        intermediate_size=shape.wide,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.H,
        num_key_value_heads=shape.Hkv,
        max_position_embeddings=shape.positions,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        vocabulary_map={"<image>": 8711, **names},
        vq_config={  # the picture encoder, which nothing here runs
            "base_channels": 32,
            "num_embeddings": card.V,
            "embed_dim": 8,
            "latent_channels": 8,
            "resolution": 32,
            "channel_multiplier": [1, 1],
        },
    )
    make: Callable[..., Any] = ChameleonForConditionalGeneration
    model = make(config)
    return model, LuminaMGPT(model, _tokenize, card)


def _emu3(shape: Shape, scale: str) -> tuple[Any, TransformersBackbone]:
    name = f"emu3-8b ({scale})"
    card = Emu3Card(name=name)
    if scale == "small":
        card = Emu3Card(name, 64, 4096, bos=1, boi=2, img=3, eol=4, eof=5, eoi=6, eos=7)
    config = Emu3TextConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.C,
        intermediate_size=shape.wide,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.H,
        num_key_value_heads=shape.Hkv,
        max_position_embeddings=shape.positions,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        pad_token_id=0,
        bos_token_id=card.bos,
        eos_token_id=card.eos,
        attention_dropout=0.0,
    )
    make: Callable[..., Any] = Emu3ForCausalLM
    model = make(config)
    return model, Emu3(model, _tokenize, card)
