"""What every command that runs a model does first: device, dtype, weights, threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from ..pipeline import Pipeline

DTYPES = ("float32", "bfloat16", "float16")
SMALL = 64 << 20  # bytes of weights; below, threads wait for each other longer than they compute (busy machine: 10x)


def load_model(
    model: str, *, device: str | None = None, dtype: str | None = None, pictures: bool = True, **options: Any
) -> Pipeline:
    """Load a model as the options of a command say.

    Args:
        model: an embedded model's name, a folder or a hub id.
        device: "cpu", "cuda" or "cuda:N"; None is the GPU where there is one.
        dtype: one of `DTYPES`; None is float32 for an embedded model, else bfloat16.
        pictures: whether a model that has no picture decoder is of no use.
        options: more arguments of `sjd2.load`; those that are None are left out.

    Raises: ValueError, FileNotFoundError, MemoryError that say what to do.
    """
    where, kind = find_device(device), find_dtype(dtype)
    import torch

    import sjd2

    from ..backbones import TransformersBackbone

    given = {name: value for name, value in options.items() if value is not None}
    try:
        pipe = sjd2.load(model, device=where, dtype=kind, **given)
    except torch.OutOfMemoryError as error:
        raise MemoryError(f"{model} does not fit on {where}: {error}") from error
    backbone = pipe.backbone
    if pictures and isinstance(backbone, TransformersBackbone) and backbone.pictures is None:
        # said now, not after the decoding
        raise FileNotFoundError(f"{backbone.name}: cannot draw pictures: {backbone.no_pictures} (option --vq)")
    return pipe


def find_device(name: str | None) -> torch.device:
    """The device of a name; None is the GPU where there is one.

    Raises: ValueError for a name that is no device, or for one that this machine does not have.
    """
    import torch

    kind, _, index = (name or ("cuda" if torch.cuda.is_available() else "cpu")).partition(":")
    if kind not in ("cpu", "cuda") or (index and (kind == "cpu" or not index.isdecimal())):
        raise ValueError(f"device must be cpu, cuda or cuda:N, got {name!r}")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices here")
    return torch.device(kind, int(index or 0)) if kind == "cuda" else torch.device(kind)


def find_dtype(name: str | None) -> torch.dtype | None:
    """The dtype of a name; None is left to the model.

    Raises: ValueError for a name that is not one of `DTYPES`.
    """
    import torch

    if name is not None and name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")
    return None if name is None else getattr(torch, name)


@contextmanager
def thread_limit(pipe: Pipeline) -> Iterator[int]:
    """One thread while a small model runs, else the process's own number; gives that number."""
    import torch

    before = torch.get_num_threads()
    if pipe.backbone.memory().weights < SMALL:
        torch.set_num_threads(1)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
