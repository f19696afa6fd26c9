"""A checkpoint's folder or hub id -> a backbone. Only files are read; no code of a checkpoint ever runs.

| layout | model_type | becomes |
|---|---|---|
| Lumina-mGPT, Chameleon, converted Anole | chameleon | `LuminaMGPT`; VQGAN decoder inside (Anole), else ``vq`` |
| BAAI/Emu3-Gen (remote-code names) | Emu3 | `Emu3`; pictures from ``vq`` (BAAI/Emu3-VisionTokenizer) |
| BAAI/Emu3-Gen-hf, both generations of names | emu3 | `Emu3`; VQ model inside |
| an Emu3 text model alone | emu3_text_model | `Emu3`; pictures from ``vq`` |
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    Emu3ForCausalLM,
    Emu3TextConfig,
    PreTrainedConfig,
)

from .base import Memory
from .card import EMU3_NAMES, LUMINA_NAMES, data_set_of, image_ids, load_card, named
from .checkpoint import Checkpoint, fill, locate, open_checkpoint, read_json
from .emu3 import Emu3, Emu3Card
from .emu3_pictures import load_emu3_pictures, pictures_of
from .lumina_mgpt import LuminaCard, LuminaMGPT
from .tokenizer import load_tokenizer
from .transformer import Pictures, Tokenize, TransformersBackbone
from .vqgan import decoder_of, load_vqgan

LUMINA_FROM = "Alpha-VLLM/Lumina-mGPT-7B-768 on the hub"
PROMPT_ROOM = 1024  # positions beside the picture
EMU3_FROM = "BAAI/Emu3-Gen or BAAI/Emu3-Gen-hf on the hub"
_EMU3_REMOTE_IDS = {"img": "img", "boi": "boi", "eoi": "eoi", "eol": "eol", "eof": "eof", "bos": "bos", "eos": "eos"}


def load_backbone(
    source: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    vq: str | Path | None = None,
    vq_dtype: torch.dtype = torch.float32,
    tokenizer: Tokenize | str | Path | None = None,
    pictures: Pictures | None = None,
    allow_pickle: bool = False,
    revision: str | None = None,
) -> TransformersBackbone:
    """Load a checkpoint.

    Args:
        source: folder, name of an embedded model, or hub id ("owner/name").
        device: of the language model.
        dtype: of the language model; weights are converted one tensor at a time. None is bfloat16, and float32 for the
            embedded models, which are small.
        vq: file, folder or hub id of the picture decoder, where it is not part of the checkpoint.
        vq_dtype: of the picture decoder.
        tokenizer: a function text -> ids, or the folder or hub id whose tokenizer is read; None is ``source``.
        pictures: codes -> uint8 pictures instead of a VQ decoder.
        allow_pickle: read pickled weights, with ``torch.load(weights_only=True)``.
        revision: of the hub repository.

    Returns:
        A `LuminaMGPT` or an `Emu3`, in evaluation mode.

    Raises:
        FileNotFoundError: names the file that is missing and where it comes from.
        ValueError: for a checkpoint of another family, and for weights that do not fit its configuration.

    Examples:
        >>> load_backbone("heroes-lumina").grid().n_tokens
        277
    """
    folder = locate(source, revision=revision, allow_pickle=allow_pickle)
    config = read_json(folder, "config.json", f"{LUMINA_FROM}, {EMU3_FROM}")
    lumina = family(config, folder) == "lumina-mgpt"
    comes_from = LUMINA_FROM if lumina else EMU3_FROM
    data_set = data_set_of(folder)
    dtype = dtype or _dtype(folder)
    checkpoint = open_checkpoint(folder, comes_from=comes_from, allow_pickle=allow_pickle)
    model = _empty(config, folder)
    if lumina:
        fill(
            model, checkpoint, dtype=dtype, device=device, rename=lumina_name, reshape=_per_head, comes_from=comes_from
        )
    else:
        fill(model, checkpoint, dtype=dtype, device=device, rename=emu3_name, comes_from=comes_from)
    model.train(False)
    if not callable(tokenizer):
        words = load_tokenizer(folder if tokenizer is None else locate(tokenizer), comes_from)
        tokenizer = words if data_set is None else cast(Tokenize, _heroes().understanding(words))
    if pictures is None and data_set is not None:
        pictures = _heroes().drawn(data_set)
    elif pictures is None and vq is not None:
        load = load_vqgan if lumina else load_emu3_pictures
        decoder = load(vq, dtype=vq_dtype, device=device, allow_pickle=allow_pickle)
        pictures = getattr(decoder, "pictures", decoder)
    elif pictures is None:
        pictures = _inside(folder, config, checkpoint, lumina, vq_dtype, device)
    return _over(model, config, folder, Path(source).name, tokenizer, pictures)


def outline(
    source: str | Path, *, dtype: torch.dtype | None = None, config: dict[str, Any] | None = None
) -> TransformersBackbone:
    """A checkpoint's backbone without anything in it: dimensions, grid and the card's values, on the meta device.

    Args:
        source: as in `load_backbone`; of a hub repository only JSON files are fetched.
        dtype: that the weights would have; None as in `load_backbone`.
        config: instead of config.json, for a model that is not here; ``source`` is then a name.

    Returns:
        A backbone that has sizes and can compute nothing.

    Raises:
        FileNotFoundError: without config.json.
        ValueError: for a checkpoint of another family.

    Examples:
        >>> outline("Lumina-mGPT-7B-768", config={"model_type": "chameleon"}).grid().n_tokens
        2357
    """
    folder = locate(source, patterns=["*.json"]) if config is None else Path(source)
    if config is None:
        config = read_json(folder, "config.json", f"{LUMINA_FROM}, {EMU3_FROM}")
    model = _empty(config, folder).to(dtype or _dtype(folder))
    return _over(model, config, folder, Path(source).name, _no_words, None)


def estimate_memory(source: str | Path, *, dtype: torch.dtype = torch.bfloat16) -> Memory:
    """What `load_backbone` would hold for the language model, and a cached position costs, from config.json alone.

    Args:
        source: as in `load_backbone`.
        dtype: that the weights would have.

    Returns:
        A `Memory`, in bytes.

    Examples:
        >>> estimate_memory("heroes-lumina").weights // 10**6
        7
    """
    return outline(source, dtype=dtype).memory()


def family(config: dict[str, Any], folder: Path) -> str:
    """ "lumina-mgpt" or "emu3", from the model type in config.json.

    Raises:
        ValueError: for any other model.
    """
    kind = str(config.get("model_type", ""))
    if kind == ChameleonConfig.model_type:
        return "lumina-mgpt"
    if kind in ("Emu3", "emu3", Emu3TextConfig.model_type):
        return "emu3"
    raise ValueError(
        f"load: {folder}: model_type must be chameleon, Emu3, emu3 or emu3_text_model, got {kind!r}; "
        "docs/new_backbone.md shows how to add a model"
    )


def lumina_name(name: str) -> str | None:
    """Checkpoint name -> name in transformers' Chameleon model without its VQ encoder."""
    return None if name.startswith(("model.vqmodel.", "vqmodel.")) else name


def emu3_name(name: str) -> str | None:
    """Checkpoint name of any Emu3 layout -> name in `Emu3ForCausalLM`."""
    if re.match(r"(model\.)?vqmodel\.", name):
        return None
    name = re.sub(r"^text_model\.(model\.|lm_head\.)", r"\1", name)
    return re.sub(r"^model\.text_model\.", "model.", name)


def _per_head(name: str, tensor: Tensor, wanted: torch.Size) -> Tensor:
    """q/k norms [shards, D] where [heads, D] is wanted: each shard's values serve a run of heads (7B: one for all)."""
    if re.search(r"\.[qk]_norm\.", name) and tensor.dim() == 2 and tensor.shape[0] and wanted[0] % tensor.shape[0] == 0:
        return tensor.repeat_interleave(wanted[0] // tensor.shape[0], 0)
    return tensor


def _empty(config: dict[str, Any], folder: Path) -> Any:
    """The language model with its head, on the meta device: shapes without memory."""
    with torch.device("meta"):
        if family(config, folder) == "lumina-mgpt":
            held = dict(config)
            held["vocabulary_map"] = held.get("vocabulary_map") or {}
            chameleon: Callable[..., Any] = ChameleonForConditionalGeneration
            model = chameleon(_config(ChameleonConfig, held))
            del model.model.vqmodel  # the encoder is not needed to draw, and published checkpoints lack it
            return model
        emu3: Callable[..., Any] = Emu3ForCausalLM
        return emu3(_config(Emu3TextConfig, config.get("text_config") or config))


def _config(kind: type[PreTrainedConfig], values: dict[str, Any]) -> PreTrainedConfig:
    """A configuration from a checkpoint's fields; the old spelling of the rotary base is translated."""
    names = {
        k: v for k, v in values.items() if k not in ("model_type", "auto_map", "architectures", "transformers_version")
    }
    theta, scaling = names.pop("rope_theta", None), names.pop("rope_scaling", None)
    if theta is not None and not names.get("rope_parameters"):
        names["rope_parameters"] = {"rope_type": "default", **(scaling or {}), "rope_theta": float(theta)}
    return kind(**names)


def _over(
    model: Any, config: dict[str, Any], folder: Path, name: str, tokenize: Tokenize, pictures: Pictures | None
) -> TransformersBackbone:
    """The family's backbone over a model of transformers."""
    if family(config, folder) == "emu3":
        return Emu3(model, tokenize, _emu3_card(config, folder, name), pictures)
    card = _lumina_card(config, folder, name)
    return LuminaMGPT(model, tokenize, card, pictures, image_ids(config.get("vocabulary_map"), card.V))


def _dtype(folder: Path) -> torch.dtype:
    """What a checkpoint is loaded in where nobody says; the models of heroes are small."""
    return torch.float32 if data_set_of(folder) else torch.bfloat16


def _no_words(text: str) -> list[int]:
    """In place of a tokenizer."""
    raise ValueError("outline: a model without weights has no tokenizer")


def _heroes() -> ModuleType:
    """Captions and pictures of the embedded models; imported late, it imports this package."""
    return import_module("sjd2.heroes.model")


def _inside(
    folder: Path,
    config: dict[str, Any],
    checkpoint: Checkpoint,
    lumina: bool,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Pictures | None:
    """The picture decoder that comes with the language model, or None."""
    if lumina:
        decoder = decoder_of(checkpoint, dtype=dtype, device=device)
        return None if decoder is None else decoder.pictures
    return pictures_of(folder, config, checkpoint, dtype=dtype, device=device)


def _lumina_card(config: dict[str, Any], folder: Path, name: str) -> LuminaCard:
    card = load_card(folder)
    if card is not None:
        if not isinstance(card, LuminaCard):
            raise ValueError(f"load: {folder}: sjd2.json is for emu3, config.json for chameleon")
        return card
    card = named(LuminaCard(name=name), config.get("vocabulary_map"), LUMINA_NAMES)
    side = re.search(r"-(\d{3,4})(?:-|$)", name)  # Lumina-mGPT-7B-512, -768, -1024
    if not side:
        return card
    card = replace(card, size=(int(side[1]), int(side[1])))
    codes = int(side[1]) // card.cell
    # the 1024 model draws pictures longer than Chameleon's 4096 positions; rotary embeddings have no table that ends
    needed = codes * (codes + 1) + PROMPT_ROOM
    return replace(card, max_positions=needed) if needed > config.get("max_position_embeddings", 0) else card


def _emu3_card(config: dict[str, Any], folder: Path, name: str) -> Emu3Card:
    card = load_card(folder)
    if card is not None:
        if not isinstance(card, Emu3Card):
            raise ValueError(f"load: {folder}: sjd2.json is for lumina-mgpt, config.json for emu3")
        return card
    remote = {
        field: config[f"{name}_token_id"] for field, name in _EMU3_REMOTE_IDS.items() if f"{name}_token_id" in config
    }
    card = replace(Emu3Card(name=name), **remote)
    return named(card, config.get("vocabulary_map"), EMU3_NAMES)
