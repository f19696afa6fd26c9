"""Strides: what the kernels of every backend ask of their arguments, and the copies that are made if need be."""

from __future__ import annotations

from torch import Tensor


def rows_last(tensor: Tensor) -> Tensor:
    """``tensor`` with stride 1 in its last axis, copied only if it must be."""
    return tensor if tensor.stride(-1) == 1 or tensor.numel() == 0 else tensor.contiguous()


def dense(tensor: Tensor | None) -> Tensor | None:
    """A contiguous version of a small argument."""
    return None if tensor is None else tensor.contiguous()
