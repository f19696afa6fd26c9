"""Random models of both families, a few ten thousand parameters each: for tests, examples and dry runs without a
download.

The layers are the library's own (transformers' Chameleon and Emu3), the grammar is the published one with small ids.
Weights are random but not small, so that a wrong mask, position or timestep changes the output visibly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import (
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    Emu3ForCausalLM,
    Emu3TextConfig,
    Emu3VQVAE,
    Emu3VQVAEConfig,
)

from .emu3 import Emu3, Emu3Card
from .emu3_pictures import Emu3Pictures
from .lumina_mgpt import LuminaCard, LuminaMGPT
from .vqgan import VQGANDecoder, VQGANShape

WORDS = 16  # text ids, at the end of the vocabulary
_Model = TypeVar("_Model", bound=nn.Module)


def randomise(model: _Model, seed: int, scale: float = 0.3) -> _Model:
    """Draw every parameter: matrices with deviation ``scale`` / sqrt(fan in) * 4, vectors around what they were."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)
            if parameter.dim() >= 2 and "norm" not in name:
                parameter.copy_(noise * (4 * scale / parameter[0].numel() ** 0.5))
            else:
                parameter.add_(noise * scale)
    return model


def words(vocabulary: int, text: str) -> list[int]:
    """A toy tokenizer: one of the last `WORDS` ids of the vocabulary per letter."""
    return [vocabulary - WORDS + byte % WORDS for byte in text.encode()]


def chameleon_config(V: int = 8, layers: int = 2, max_positions: int = 256, swin_norm: bool = False) -> ChameleonConfig:
    """A Chameleon configuration of 64 channels; ids: 4 specials, V image tokens, 5 specials, 9 sizes, `WORDS` words."""
    names = {f"IMGIMG{''.join('ABCDEFGHIJ'[int(d)] for d in str(code))}Z": 4 + code for code in range(V)}
    return ChameleonConfig(
        vocab_size=4 + V + 5 + 9 + WORDS,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=max_positions,
        swin_norm=swin_norm,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        vocabulary_map={"<image>": 4 + V + 4, **names},
        vq_config={
            "base_channels": 32,
            "num_embeddings": V,
            "embed_dim": 8,
            "latent_channels": 8,
            "resolution": 32,
            "channel_multiplier": [1, 1],
        },
    )


def lumina_card(V: int = 8) -> LuminaCard:
    """The grammar of `chameleon_config`: 2 pixels per code, 4 per size unit, pictures of 12 x 8 pixels."""
    first = 4 + V
    return LuminaCard(
        name="tiny-lumina",
        V=V,
        separator=first,
        boi=first + 1,
        eoi=first + 2,
        eol=first + 3,
        size_base=first + 5,
        max_grains=8,
        grain=4,
        cell=2,
        size=(12, 8),
        template="{width}x{height} {prompt}",
    )


def tiny_lumina(
    *,
    V: int = 8,
    layers: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    max_positions: int = 256,
    swin_norm: bool = False,
) -> LuminaMGPT:
    """A random Lumina-mGPT with a random picture decoder.

    Args:
        V: number of image ids.
        layers: of the language model.
        seed: of the weights.
        dtype, device: of the language model; the picture decoder stays float32 on the CPU.
        max_positions: longest sequence.
        swin_norm: the 34B model's order of norms.

    Example:
        >>> tiny_lumina().grid().n_tokens  # 4 rows of 6 codes and an end of line, 5 tokens around them
        33
    """
    build: Callable[..., Any] = ChameleonForConditionalGeneration
    model = randomise(build(chameleon_config(V, layers, max_positions, swin_norm)), seed).to(device, dtype).eval()
    vq = VQGANDecoder(VQGANShape(V, embed=8, z=8, widths=(32, 32), blocks=2, attention=(False, False)))
    vocabulary = model.config.vocab_size
    pictures = randomise(vq, seed + 1).eval().pictures
    return LuminaMGPT(model, lambda text: words(vocabulary, text), lumina_card(V), pictures)


def emu3_text_config(V: int = 8, layers: int = 2, max_positions: int = 256) -> Emu3TextConfig:
    """An Emu3 configuration of 64 channels, two query heads per key head; ids: 8 specials, V image tokens, `WORDS`."""
    return Emu3TextConfig(
        vocab_size=8 + V + WORDS,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def emu3_vq_config(V: int = 8) -> Emu3VQVAEConfig:
    """A picture model of 32 channels and 2 pixels per code."""
    return Emu3VQVAEConfig(
        codebook_size=V,
        base_channels=32,
        channel_multiplier=[1, 1],
        num_res_blocks=1,
        attn_resolutions=[1],
        hidden_size=32,
        temporal_downsample_factor=1,
    )


def emu3_card(V: int = 8) -> Emu3Card:
    """The grammar of `emu3_text_config`: 2 pixels per code, pictures of 10 x 6 pixels."""
    return Emu3Card(
        name="tiny-emu3",
        first_image_id=8,
        V=V,
        bos=1,
        eos=2,
        img=3,
        boi=4,
        eoi=5,
        eol=6,
        eof=7,
        cell=2,
        size=(10, 6),
        positive=" best.",
        negative="bad, worse.",
    )


def tiny_emu3(
    *,
    V: int = 8,
    layers: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    max_positions: int = 256,
) -> Emu3:
    """A random Emu3 with a random picture decoder.

    Args:
        V: number of image ids.
        layers: of the language model.
        seed: of the weights.
        dtype, device: of the language model; the picture decoder stays float32 on the CPU.
        max_positions: longest sequence.

    Example:
        >>> tiny_emu3().grid().n_tokens  # 3 rows of 5 codes and an end of line, 3 tokens after them
        21
    """
    build: Callable[..., Any] = Emu3ForCausalLM
    model = randomise(build(emu3_text_config(V, layers, max_positions)), seed).to(device, dtype).eval()
    vocabulary = model.config.vocab_size
    pictures = Emu3Pictures(randomise(Emu3VQVAE(emu3_vq_config(V)), seed + 1))
    return Emu3(model, lambda text: words(vocabulary, text), emu3_card(V), pictures)
