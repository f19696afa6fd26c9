"""The embedded models: small Chameleon and Emu3 text models with the grammar of the published checkpoints.

heroes-lumina   BOS caption SEP | BOI size size | 16 rows of 16 codes and EOL | EOI SEP
heroes-emu3     BOS caption BOI "16*16" IMG | 16 rows of 16 codes and EOL | EOF EOI EOS

Ids: specials, codes, more specials, words. One row of a caption is one id per word.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    Emu3ForCausalLM,
    Emu3TextConfig,
)

from ..backbones.base import Defaults
from ..backbones.card import save_card
from ..backbones.emu3 import Emu3, Emu3Card
from ..backbones.lumina_mgpt import LuminaCard, LuminaMGPT
from ..backbones.transformer import Pictures, Tokenize
from .captions import canonical, vocabulary
from .codes import Codebook, palette, patches
from .parts import SIZE

NAMES = ("heroes-lumina", "heroes-emu3")
PATCHES, PIXELS = "heroes", "heroes-pixels"  # data sets as a checkpoint's sjd2.json names them
PROMPT = 64  # positions for the longest caption and the tokens around it
WORD = r"[a-z]+|[0-9]+|[^\sa-z0-9]"
# the best of docs/heroes.md; few channels want few denoising steps
DEFAULTS = Defaults(
    {"window": 64, "denoise_steps": 4, "spacing": "linear", "guidance": 2.0, "top_k": 0},
    {name: {"window": 16} for name in ("jacobi", "match", "sjd", "gumbel")} | {"coupled": {"window": 32}},
    {"sjd2": {"draft": "sampled"}},  # nearest codes cost a third of a bit per token where a picture leaves no choice
)


@dataclass(frozen=True)
class Shape:
    """The size of a model, and what one code stands for.

    Attributes:
        C, layers, H, ffn: channels, layers, heads, inner width.
        pixels: whether a code is a pixel of the palette (1024 tokens) or a 2 x 2 patch (256 tokens).
    """

    C: int = 192
    layers: int = 6
    H: int = 4
    ffn: int = 512
    pixels: bool = False

    @property
    def codes(self) -> Codebook:
        """The table of codes."""
        return palette() if self.pixels else patches()


SMALL = Shape()
LARGE = Shape(C=384, layers=8, H=6, ffn=1024, pixels=True)


def build(name: str, shape: Shape = SMALL, *, seed: int = 0, defaults: Defaults | None = None) -> LuminaMGPT | Emu3:
    """A new model with random weights, with the grammar, words and codes of the data set.

    Args:
        name: "heroes-lumina" or "heroes-emu3". shape: its size. seed: of the weights. defaults: what None means.

    Raises: ValueError for another name.
    """
    if name not in NAMES:
        raise ValueError(f"heroes: name must be one of {', '.join(NAMES)}, got {name!r}")
    codes, held = shape.codes, defaults or DEFAULTS
    torch.manual_seed(seed)
    pictures = drawn(PIXELS if shape.pixels else PATCHES)
    if name == "heroes-lumina":
        card = _lumina_card(codes, held)
        lumina: Callable[..., Any] = ChameleonForConditionalGeneration
        model = _normal(lumina(_chameleon(shape, card)), shape.layers)
        del model.model.vqmodel  # the encoder is not part of a text model
        return LuminaMGPT(model, plain(word_tokenizer(card)), card, pictures)
    emu3_card = _emu3_card(codes, held)
    emu3: Callable[..., Any] = Emu3ForCausalLM
    text = _normal(emu3(_emu3(shape, emu3_card)), shape.layers)
    return Emu3(text, plain(word_tokenizer(emu3_card)), emu3_card, pictures)


def drawn(data_set: str) -> Pictures:
    """[B, height, width] codes -> [B, pixel height, pixel width, 3] uint8 pictures, by the codes of a data set.

    Raises: ValueError for an unknown data set.
    """
    if data_set not in (PATCHES, PIXELS):
        raise ValueError(f"load: sjd2.json: data_set must be {PATCHES} or {PIXELS}, got {data_set!r}")
    codes = palette() if data_set == PIXELS else patches()
    return lambda held: torch.from_numpy(codes.decode(held.cpu().numpy()))


def plain(tokenizer: Tokenizer) -> Tokenize:
    """Words to ids as they stand: for text that is known to be canonical."""
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def understanding(tokenizer: Tokenize) -> Tokenize:
    """Free text to the caption that says the same as the model was trained on it, then to ids.

    Raises: ValueError that names words that no caption has, with suggestions.
    """

    def tokenize(text: str) -> Any:
        if not text.strip() or "*" in text:  # nothing, or a size
            return tokenizer(text)
        return tokenizer(canonical(text))

    return tokenize


def word_tokenizer(card: LuminaCard | Emu3Card) -> Tokenizer:
    """One id per word, behind the card's other ids."""
    first = _first_word(card)
    words = [*vocabulary(), *(["*", *map(str, range(1, SIZE + 1))] if isinstance(card, Emu3Card) else [])]
    tokenizer = Tokenizer(models.WordLevel({word: first + at for at, word in enumerate(words)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
    return tokenizer


def save(backbone: LuminaMGPT | Emu3, folder: Path, shape: Shape = SMALL) -> None:
    """Write a checkpoint in the hub's layout, weights in bfloat16; `sjd2.load` reads it.

    Args:
        backbone: from `build`, trained. folder: created if missing. shape: the one it was built with.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    card = backbone.card
    config = backbone.text.config.to_dict()
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    word_tokenizer(card).save(str(folder / "tokenizer.json"))
    save_card(card, folder, PIXELS if shape.pixels else PATCHES)
    weights = {f"model.{k}": v for k, v in backbone.text.state_dict().items()}
    weights |= {f"lm_head.{k}": v for k, v in backbone.lm_head.state_dict().items()}
    save_file({k: v.to(torch.bfloat16).contiguous() for k, v in weights.items()}, folder / "model.safetensors")


def _first_word(card: LuminaCard | Emu3Card) -> int:
    if isinstance(card, LuminaCard):
        return card.size_base + card.max_grains + 1
    return card.first_image_id + card.V


def _ids(card: LuminaCard | Emu3Card) -> int:
    return max(word_tokenizer(card).get_vocab().values()) + 1


def _lumina_card(codes: Codebook, defaults: Defaults) -> LuminaCard:
    V, cell = len(codes.entries), codes.cell
    first = 4 + V
    return LuminaCard(
        name="heroes-lumina", V=V, separator=first, boi=first + 1, eoi=first + 2, eol=first + 3, size_base=first + 3,
        max_grains=SIZE // cell, grain=cell, cell=cell, size=(SIZE, SIZE), template="{prompt}", defaults=defaults,
    )  # fmt: skip


def _emu3_card(codes: Codebook, defaults: Defaults) -> Emu3Card:
    return Emu3Card(
        name="heroes-emu3", first_image_id=8, V=len(codes.entries), bos=1, eos=2, img=3, boi=4, eoi=5, eol=6, eof=7,
        cell=codes.cell, size=(SIZE, SIZE), positive="", negative="", defaults=defaults,
    )  # fmt: skip


def _positions(codes: int) -> int:
    side = SIZE // codes
    return PROMPT + side * (side + 1) + 8


def _chameleon(shape: Shape, card: LuminaCard) -> ChameleonConfig:
    return ChameleonConfig(
        vocab_size=_ids(card),
        hidden_size=shape.C,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.H,
        num_key_value_heads=shape.H,
        max_position_embeddings=_positions(card.cell),
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        vocabulary_map={"<image>": 1},
        vq_config={  # a stub: the library insists on an encoder, which is thrown away
            "base_channels": 32, "num_embeddings": 8, "embed_dim": 8, "latent_channels": 8, "resolution": 32,
            "channel_multiplier": [1, 1],
        },
    )  # fmt: skip


def _emu3(shape: Shape, card: Emu3Card) -> Emu3TextConfig:
    return Emu3TextConfig(
        vocab_size=_ids(card),
        hidden_size=shape.C,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.H,
        num_key_value_heads=shape.H // 2,
        max_position_embeddings=_positions(card.cell),
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        attention_dropout=0.0,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def _normal(model: Any, layers: int) -> Any:
    """Normal weights of deviation 0.02; what a residual branch adds, scaled down with the depth."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "norm" not in name:
                out = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * layers) ** 0.5 if out else 0.02)
    return model
