"""The native CPU kernels: C++ of csrc/cpu, one file per operator.

The compiled functions take the operator's arguments as they come and answer None where a tensor is not plain: of
another type, shape or device than the kernel works on, or strided where it must be dense (csrc/arguments.h). A call of
the operator goes straight to them; what they do not take is checked, copied as far as need be, and handed over again by
the functions here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..compiled import load

BUILD_FAILURE = Path(__file__).parent.parent / "_native_failure.txt"  # written by setup.py
ADVICE = "Install a C++17 compiler, then this package again; SJD2_REQUIRE_NATIVE=1 makes a failed build an error."


@cache
def _load() -> ModuleType | str:
    return load("_cpu", _reason)


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


def call(operator: str, *arguments: Any, **options: Any) -> Any:
    """The compiled function of ``operator`` on arguments that have been checked and made dense.

    Raises: RuntimeError if it does not take them all the same, which is a defect of this package.
    """
    result = getattr(module(), operator)(torch.get_num_threads(), *arguments, **options)
    if result is None:
        raise RuntimeError(f"{operator}: the native kernel refuses valid arguments; report it, and use another backend")
    return result


@cache
def direct(operator: str) -> tuple[Callable[[], bool], Callable[..., Any]] | None:
    """Whether SJD2_BACKEND leaves the choice to this backend, and the compiled function of ``operator``, which answers
    None where it cannot serve; or None if the module cannot be used.
    """
    loaded = _load()
    return None if isinstance(loaded, str) else (loaded.preferred, getattr(loaded, operator))
