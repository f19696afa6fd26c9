"""A tuned model as a checkpoint in the layout of the one it came from, which `sjd2.load` reads.

Every tensor keeps its name and its place in the order; those of the language model are replaced, others (a VQ model
beside it) are copied as they are. Configuration and tokenizer files are copied, `sjd2.json` is written: the grammar,
and the decoding grid that was tuned for.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..backbones.card import FILE, save_card
from ..backbones.checkpoint import PATTERNS, open_checkpoint
from ..backbones.emu3 import Emu3Card
from ..backbones.loading import emu3_name, lumina_name
from ..backbones.lumina_mgpt import LuminaCard

SHARD = 4 * 2**30  # bytes
INDEX = "model.safetensors.index.json"
WRITTEN = ("config.json", FILE, INDEX, "pytorch_model.bin.index.json")  # not copied


@dataclass(frozen=True)
class Source:
    """Where a tuned model came from.

    Attributes:
        folder: of the checkpoint, with its weights. tokenizer: folder of the tokenizer, often the same one.
        card: the grammar, with the defaults that decoding shall use.
        allow_pickle: whether its weights may be pickled.
    """

    folder: Path
    tokenizer: Path
    card: LuminaCard | Emu3Card
    allow_pickle: bool = False


def export(source: Source, weights: Mapping[str, Tensor], folder: Path, dtype: torch.dtype, shard: int = SHARD) -> None:
    """Write the checkpoint.

    Args:
        source: what the model was loaded from.
        weights: names of `NextCleanToken`'s parameters (``text.*``, ``lm_head.*``) -> values.
        folder: exists, is empty.
        dtype: of the tuned tensors.
        shard: bytes per file.

    Raises: ValueError if a tensor of the model has no place in the source's layout.
    """
    tuned = {_written(name): value for name, value in weights.items()}
    used = _save_shards(_replaced(source, tuned, dtype), folder, shard)
    lost = sorted(name for name in tuned if name not in used and name != "lm_head.weight")  # a tied head has no place
    if lost:
        raise ValueError(f"finetune: {source.folder} has no place for {', '.join(lost[:6])}")
    for origin in dict.fromkeys((source.tokenizer, source.folder)):  # the checkpoint's own files win
        for pattern in PATTERNS:
            for path in origin.glob(pattern):
                if path.name not in WRITTEN and path.suffix != ".safetensors":
                    shutil.copyfile(path, folder / path.name)
    config = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    for key in ("torch_dtype", "dtype"):
        if key in config:
            config[key] = str(dtype).removeprefix("torch.")
    _write_json(folder / "config.json", config)
    save_card(source.card, folder)
    if (source.folder / FILE).is_file():  # keep what others wrote into it
        mine = json.loads((folder / FILE).read_text(encoding="utf-8"))
        _write_json(folder / FILE, json.loads((source.folder / FILE).read_text(encoding="utf-8")) | mine)


def _written(name: str) -> str:
    """Parameter of `NextCleanToken` -> tensor of the language model."""
    return f"model.{name.removeprefix('text.')}" if name.startswith("text.") else name


def _replaced(source: Source, tuned: Mapping[str, Tensor], dtype: torch.dtype) -> Iterator[tuple[str, str, Tensor]]:
    """(name in the source, name in the language model or "", value) of every tensor of the source."""
    checkpoint = open_checkpoint(source.folder, comes_from=str(source.folder), allow_pickle=source.allow_pickle)
    rename = lumina_name if isinstance(source.card, LuminaCard) else emu3_name
    for name, value in checkpoint.tensors():
        target = rename(name)
        if target is None:
            yield name, "", value
        elif target in tuned:
            yield name, target, tuned[target].to(dtype)


def _save_shards(tensors: Iterator[tuple[str, str, Tensor]], folder: Path, limit: int) -> set[str]:
    """Write tensors as one file, or as several with an index; the names in the language model that were written."""
    from safetensors.torch import save_file

    files: list[list[str]] = []
    held: dict[str, Tensor] = {}
    total, size, used = 0, 0, set()

    def flush() -> None:
        files.append(list(held))
        save_file(held, folder / f"{len(files)}.part", metadata={"format": "pt"})
        held.clear()

    for name, target, value in tensors:
        bytes_here = value.numel() * value.element_size()
        if held and size + bytes_here > limit:
            flush()
            size = 0
        held[name] = value.contiguous()
        size, total = size + bytes_here, total + bytes_here
        used.add(target)
    flush()
    if len(files) == 1:
        os.replace(folder / "1.part", folder / "model.safetensors")
        return used
    where: dict[str, str] = {}
    for number, names in enumerate(files, 1):
        file = f"model-{number:05}-of-{len(files):05}.safetensors"
        os.replace(folder / f"{number}.part", folder / file)
        where |= dict.fromkeys(names, file)
    _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": where})
    return used


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
