"""The native CUDA kernels: C++ of csrc/cuda, for the operators that have a file here.

Built without a GPU wherever nvcc is found; loaded where it was built, live where there is a device.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from ..compiled import load

BUILD_FAILURE = Path(__file__).parent.parent / "_cuda_failure.txt"  # written by setup.py
ADVICE = "Put nvcc of CUDA 12.8 or newer on the path (or name it in CUDACXX), then install this package again."


@cache
def _load() -> ModuleType | str:
    return load("_cuda", _reason)


def _reason(error: ImportError) -> str:
    """Why there is no module, and what to do: setup.py leaves the reason of a failed build."""
    if BUILD_FAILURE.is_file():
        return f"it could not be built when this package was installed: {BUILD_FAILURE.read_text().strip()}\n{ADVICE}"
    if isinstance(error, ModuleNotFoundError):
        return f"not built: nvcc was not found when this package was installed, or SJD2_CUDA=0 was set\n{ADVICE}"
    return f"{error}\n{ADVICE}"


@cache
def why_not() -> str | None:
    """The reason why the CUDA kernels cannot be used, or None."""
    loaded = _load()
    if isinstance(loaded, str):
        return loaded
    if not torch.cuda.is_available():
        return f"built for {loaded.ARCHITECTURES}, but torch finds no CUDA device"
    problem: str = loaded.problem()
    return problem or None


def module() -> ModuleType:
    """The compiled module."""
    loaded = _load()
    if isinstance(loaded, str):
        raise RuntimeError(loaded)
    return loaded


def describe() -> str:
    """One line for show_config()."""
    return f"built for {module().ARCHITECTURES}"


def place(tensor: Tensor) -> tuple[int, int]:
    """Device ordinal of ``tensor`` and address of the stream that is current there."""
    return tensor.get_device(), torch.cuda.current_stream(tensor.device).cuda_stream


def launch(operator: str, anchor: Tensor, *arguments: object) -> None:
    """Run the compiled function of ``operator`` where ``anchor`` lies.

    Raises: RuntimeError if it does not take the arguments, which have been checked: a defect of this package.
    """
    if not getattr(module(), operator)(*place(anchor), *arguments):
        raise RuntimeError(f"{operator}: the CUDA kernel refuses valid arguments; report it, and use another backend")
