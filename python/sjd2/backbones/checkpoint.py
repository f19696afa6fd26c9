"""Checkpoints on disk: finding files, naming missing ones, and streaming tensors into a model that holds no memory yet.

A model is built on the meta device, then every tensor is read, reshaped, converted and placed one at a time, so 34 GB
of float32 become 17 GB of bfloat16 without a moment at which both exist. safetensors and JSON only; pickled files need
``allow_pickle`` and are read with ``weights_only=True``. Code in a checkpoint is never run.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

Rename = Callable[[str], "str | None"]
Reshape = Callable[[str, Tensor, torch.Size], Tensor]

EMBEDDED = Path(__file__).parents[1] / "heroes" / "checkpoints"  # models that come with the package, by name
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.tiktoken"]
PICKLES = ["*.bin", "*.ckpt", "*.pt", "*.pth"]


def locate(
    source: str | Path,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
    patterns: Sequence[str] = PATTERNS,
) -> Path:
    """The local folder or file of a checkpoint: a path as it is, the name of an embedded model, or a hub id
    ("owner/name") after download into the hub's cache.

    Args:
        source: path, name or hub id.
        revision: of the hub repository.
        allow_pickle: whether pickled weights may be downloaded too.
        patterns: names of the files that are downloaded.

    Raises: FileNotFoundError for a path that does not exist and is no hub id.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    if str(source) in embedded():
        return EMBEDDED / str(source)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise FileNotFoundError(
            f"load: {source} is neither a folder or file on this machine, nor an embedded model "
            f"({', '.join(embedded())}), nor a hub id (owner/name)"
        )
    from huggingface_hub import snapshot_download

    wanted = [*patterns, *(PICKLES if allow_pickle else [])]
    return Path(snapshot_download(str(source), revision=revision, allow_patterns=wanted))


def embedded() -> list[str]:
    """The names of the models that come with the package."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/config.json"))


def read_json(folder: Path, name: str, comes_from: str) -> dict[str, Any]:
    """A JSON file of the checkpoint.

    Raises: FileNotFoundError that names the file and where it comes from.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"load: {path} is missing; it comes from {comes_from}")
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


@dataclass(frozen=True)
class Checkpoint:
    """Which file holds which tensor; nothing is read before `tensors`."""

    where: dict[str, Path]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, from the files' headers."""
        found: dict[str, tuple[int, ...]] = {}
        for path in dict.fromkeys(self.where.values()):
            with _Reader(path) as names:
                found.update({name: tuple(names.shape(name)) for name in names.listed() if name in self.where})
        return found

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) one at a time, file after file; a file is closed before the next is opened."""
        for path in dict.fromkeys(self.where.values()):
            with _Reader(path) as names:
                for name in names.listed():
                    if name in self.where:
                        yield name, names.get(name)


def open_checkpoint(path: Path, *, comes_from: str, allow_pickle: bool = False) -> Checkpoint:
    """The weights in a folder (single file or shards with an index) or in one file.

    Args:
        path: folder or file.
        comes_from: where a user finds these weights; part of every error.
        allow_pickle: read pickled files too, by ``torch.load(weights_only=True)``.

    Raises: FileNotFoundError that lists missing shards or says what was looked for; ValueError for pickled weights
        without the flag.
    """
    if path.is_file():
        _check_pickle([path], allow_pickle)
        return _single(path)
    for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        if (path / index).is_file() and (index.startswith("model") or not _any_safetensors(path)):
            return _sharded(path, index, comes_from, allow_pickle)
    files = sorted(path.glob("*.safetensors"))
    if len(files) > 1:
        raise FileNotFoundError(
            f"load: {path} holds {len(files)} safetensors files but no model.safetensors.index.json; "
            f"it comes from {comes_from}"
        )
    if not files:
        files = sorted(file for pattern in PICKLES for file in path.glob(pattern))[:1]
        _check_pickle(files, allow_pickle)
    if not files:
        raise FileNotFoundError(
            f"load: {path} holds no weights (looked for model.safetensors and model.safetensors.index.json); "
            f"they come from {comes_from}"
        )
    return _single(files[0])


def fill(
    model: nn.Module,
    checkpoint: Checkpoint,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    rename: Rename = lambda name: name,
    reshape: Reshape = lambda name, tensor, shape: tensor,
    comes_from: str,
) -> None:
    """Stream a checkpoint into a model built on the meta device.

    Args:
        model: its parameters and persistent buffers are replaced; floating ones get ``dtype``.
        checkpoint: the tensors.
        rename: checkpoint name -> name in the model, or None to leave the tensor out.
        reshape: (name in the model, tensor, wanted shape) -> tensor.
        comes_from: where these weights come from, for errors.

    Raises: ValueError for a tensor of the wrong shape, one that the model does not have, or one that is missing.
    """
    state = dict(model.state_dict(keep_vars=True))
    filled, unknown = set(), []
    for name, tensor in checkpoint.tensors():
        target = rename(name)
        if target is None:
            continue
        if target not in state:
            unknown.append(name)
            continue
        wanted = state[target].shape
        tensor = reshape(target, tensor, wanted)
        if tensor.shape != wanted:
            raise ValueError(f"load: {name} must have shape {tuple(wanted)}, got {tuple(tensor.shape)}")
        place(model, target, tensor, dtype=dtype, device=device)
        filled.add(target)
        del tensor  # before the next one is read
    if unknown:
        raise ValueError(f"load: the model has no place for {_some(unknown)}; the checkpoint is not {comes_from}")
    if getattr(getattr(model, "config", None), "tie_word_embeddings", False):
        model.tie_weights()  # type: ignore[operator]
        filled |= {name for name, value in model.state_dict(keep_vars=True).items() if not value.is_meta}
    missing = sorted(set(state) - filled)
    if missing:
        raise ValueError(f"load: the checkpoint lacks {_some(missing)}; the complete one comes from {comes_from}")
    restore_rotary(model, device)


def place(model: nn.Module, name: str, tensor: Tensor, *, dtype: torch.dtype, device: torch.device | str) -> None:
    """Put one tensor where the parameter or buffer ``name`` is, converted if it is a floating one."""
    owner_name, _, leaf = name.rpartition(".")
    owner = model.get_submodule(owner_name)
    # contiguous memory of our own: a tensor of a mapped file would change or fault with the file
    kept = tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else tensor.dtype, copy=True).contiguous()
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(kept, requires_grad=kept.is_floating_point())
    else:
        owner._buffers[leaf] = kept


def restore_rotary(model: nn.Module, device: torch.device | str) -> None:
    """Recompute the rotary frequencies, which no checkpoint holds; always float32, bfloat16 ruins long positions."""
    for module in model.modules():
        if isinstance(getattr(module, "inv_freq", None), Tensor) and module.inv_freq.is_meta:
            with torch.device("cpu"):
                fresh = type(module)(module.config)
            for name, buffer in fresh.named_buffers(recurse=False):
                module._buffers[name] = buffer.to(device)
    left = [name for name, buffer in model.named_buffers() if buffer.is_meta]
    if left:
        raise ValueError(f"load: buffers without a value: {_some(left)}")


class _Reader:
    """One weight file, opened lazily: ``listed()``, ``shape(name)``, ``get(name)``."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> Self:
        if self.path.suffix == ".safetensors":
            from safetensors import safe_open

            opened: Any = safe_open(self.path, framework="pt", device="cpu")
            self._open = opened.__enter__()
        else:
            mapped = zipfile.is_zipfile(self.path)  # torch before 1.6 wrote another format, which is read whole
            loaded = torch.load(self.path, map_location="cpu", weights_only=True, mmap=mapped)
            self._dict = loaded.get("state_dict", loaded)
        return self

    def __exit__(self, *error: object) -> None:
        if self.path.suffix == ".safetensors":
            self._open.__exit__(*error)
        else:
            del self._dict

    def listed(self) -> list[str]:
        if self.path.suffix == ".safetensors":
            return list(self._open.keys())
        return [name for name, value in self._dict.items() if isinstance(value, Tensor)]

    def shape(self, name: str) -> list[int]:
        if self.path.suffix == ".safetensors":
            return list(self._open.get_slice(name).get_shape())
        return list(self._dict[name].shape)

    def get(self, name: str) -> Tensor:
        tensor: Tensor = self._open.get_tensor(name) if self.path.suffix == ".safetensors" else self._dict[name]
        return tensor


def _single(path: Path) -> Checkpoint:
    with _Reader(path) as names:
        return Checkpoint(dict.fromkeys(names.listed(), path))


def _sharded(folder: Path, index: str, comes_from: str, allow_pickle: bool) -> Checkpoint:
    where = {name: folder / file for name, file in read_json(folder, index, comes_from)["weight_map"].items()}
    outside = sorted(
        {str(path) for path in where.values() if path.resolve().parent != folder.resolve() and not path.is_symlink()}
    )
    if outside:
        raise ValueError(f"load: {folder / index} points outside its folder: {_some(outside)}")
    files = list(dict.fromkeys(where.values()))
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"load: {folder} lacks {_some(missing)}, named in {index}; they come from {comes_from}")
    _check_pickle(files, allow_pickle)
    return Checkpoint(where)


def _check_pickle(files: list[Path], allow_pickle: bool) -> None:
    pickled = [path.name for path in files if path.suffix != ".safetensors"]
    if pickled and not allow_pickle:
        raise ValueError(
            f"load: {_some(pickled)} is pickled, and only safetensors are read by default; pass allow_pickle=True "
            "to read it with torch.load(weights_only=True), or convert it to safetensors"
        )


def _any_safetensors(folder: Path) -> bool:
    return next(folder.glob("*.safetensors"), None) is not None


def _some(names: list[str], limit: int = 6) -> str:
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
