"""Loading a compiled module of this package, and showing it how to read tensors."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

import torch


def load(name: str, reason: Callable[[ImportError], str]) -> ModuleType | str:
    """The module ``name`` of this package, ready to take tensors, or why it cannot be used.

    Args:
        name: ``_cpu`` or ``_cuda``.
        reason: says more about a failed import.
    """
    try:
        loaded = importlib.import_module(f"{__package__}.{name}")
    except ImportError as error:
        return reason(error)
    try:
        loaded.exchange_with(torch.Tensor.__dlpack_c_exchange_api__)
    except (AttributeError, RuntimeError) as error:
        unread = f"torch {torch.__version__} does not show tensors as this package reads them ({error})"
        return f"{unread}\nUse torch 2.11 or newer, or a newer sjd2-kernels."
    return loaded
