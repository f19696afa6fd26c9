"""What the tests of sjd2.finetune share: tiny models in float64, tiny checkpoints on disk, batches, an accelerator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _models import wide_norms
from safetensors.torch import save_file
from sjd2.backbones import TransformersBackbone
from sjd2.backbones.card import save_card
from sjd2.backbones.tiny import chameleon_config, emu3_vq_config, randomise, tiny_emu3, tiny_lumina
from sjd2.finetune.batch import Batch, clean_batch
from sjd2.finetune.rows import write_rows
from sjd2.finetune.sequences import sequences
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import ChameleonVQVAE, Emu3VQVAE

FAMILIES: dict[str, Callable[..., TransformersBackbone]] = {"lumina": tiny_lumina, "emu3": tiny_emu3}


def wide(family: str) -> TransformersBackbone:
    """A tiny model whose arithmetic is float64 throughout, on transformers' own attention."""
    made = FAMILIES[family](dtype=torch.float64, seed=3)
    wide_norms(made.text)
    return made


def codes(backbone: TransformersBackbone, B: int, seed: int = 0) -> Tensor:
    """Random pictures of the model's own size."""
    grid = backbone.grid()
    return torch.randint(0, backbone.V, (B, grid.height, grid.width), generator=torch.Generator().manual_seed(seed))


def batch_of(backbone: TransformersBackbone, texts: list[str | None], seed: int = 0) -> Batch:
    """A clean batch with random pictures."""
    grid = backbone.grid()
    tokens, prompt = sequences(backbone, grid, texts, codes(backbone, len(texts), seed))
    return clean_batch(tokens, prompt, grid.n_tokens, torch.arange(len(texts)) + 11)


def vq_model(family: str) -> Any:
    """A random VQ model with its encoder: transformers' Chameleon or Emu3 one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)  # of the vectors, which `randomise` draws around what they are
        made = ChameleonVQVAE(chameleon_config().vq_config) if family == "lumina" else Emu3VQVAE(emu3_vq_config())
    return randomise(made, 5).eval()


def write_tokenizer(folder: Path, last_id: int) -> None:
    """A tokenizer of a few letters, the last ids of the vocabulary."""
    letters = "ab01*x"
    names = {letter: last_id - place for place, letter in enumerate(letters)}
    Tokenizer(models.BPE(vocab=names, merges=[])).save(str(folder / "tokenizer.json"))


def write_checkpoint(folder: Path, family: str = "lumina", *, vq: bool = False) -> Path:
    """A tiny checkpoint in the hub's layout: Lumina-mGPT's, or Emu3-Gen's with the names of its remote code."""
    folder.mkdir(parents=True)
    made = FAMILIES[family](seed=5)
    state = {f"model.{name}": value for name, value in made.text.state_dict().items() if "vqmodel" not in name}
    state["lm_head.weight"] = made.lm_head.weight.detach()
    config = made.text.config.to_dict()
    if vq:
        model = vq_model(family)
        state |= {f"model.vqmodel.{name}": value for name, value in model.state_dict().items()}
        if family == "emu3":
            config = {"model_type": "emu3", "text_config": config, "vq_config": model.config.to_dict()}
    save_file({name: value.clone() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    save_card(made.card, folder)  # type: ignore[attr-defined]
    write_tokenizer(folder, made.text.config.vocab_size - 1)
    return folder


def write_data(path: Path, n: int = 20, family: str = "lumina", seed: int = 0) -> Path:
    """A parquet file of tokenised pictures in which a code follows from the one before it: something to learn."""
    grid = FAMILIES[family]().grid()
    draw = np.random.default_rng(seed)
    start = draw.integers(0, 8, (n, 1))
    line = (start + 3 * np.arange(grid.height * grid.width) + draw.integers(0, 2, (n, grid.height * grid.width))) % 8
    write_rows(path, ["a", "ab", "ba", "aab"] * (n // 4), line.reshape(n, grid.height, grid.width))
    return path
