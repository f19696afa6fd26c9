"""The native CPU kernels: C++ of csrc/cpu behind pointer interfaces, one file per operator."""

from __future__ import annotations

import importlib
import math
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

BUILD_FAILURE = Path(__file__).parent.parent / "_native_failure.txt"  # written by setup.py
ADVICE = "Install a C++17 compiler, then this package again; SJD2_REQUIRE_NATIVE=1 makes a failed build an error."
DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}


@cache
def _load() -> ModuleType | str:
    try:
        return importlib.import_module("sjd2_kernels._cpu")
    except ImportError as error:
        return _reason(error)


def _reason(error: ImportError) -> str:
    """What went wrong, and what to do: the installation leaves the reason where it could not build the module."""
    reason = f"{error}"
    if BUILD_FAILURE.is_file():
        reason = f"it could not be built when this package was installed: {BUILD_FAILURE.read_text().strip()}"
    return f"{reason}\n{ADVICE}"


def why_not() -> str | None:
    """The reason why the native module cannot be used, or None."""
    loaded = _load()
    return loaded if isinstance(loaded, str) else None


def module() -> ModuleType:
    """The compiled module."""
    loaded = _load()
    if isinstance(loaded, str):
        raise RuntimeError(loaded)
    return loaded


def describe() -> str:
    """One line for show_config()."""
    text: str = module().describe()
    return text


def address(tensor: Tensor | None) -> int:
    """Data pointer for the kernels, 0 for None; the caller keeps the tensor alive."""
    return 0 if tensor is None else tensor.data_ptr()


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised contiguous tensor; a big one reuses the memory of an earlier one, which saves page faults."""
    size = math.prod(shape) * dtype.itemsize
    if size < module().RECYCLE_FROM:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(module().Recycled(size), dtype=dtype).view(shape)
