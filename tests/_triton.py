"""Triton kernels beside the best CPU backend: the same call on both, outputs compared bit for bit."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from typing import Any

import torch
from _live import TRITON_DEVICE, live
from torch import Tensor

MAP_NORESERVE = 0x4000  # Linux: memory is found when it is touched, and most of it never is


def moved(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments where Triton's kernels run."""
    return {k: v.to(TRITON_DEVICE) if isinstance(v, Tensor) else v for k, v in arguments.items()}


def assert_same(name: str, got: Tensor, want: Tensor) -> None:
    """Equal in type, shape, contiguity and every bit."""
    assert got.device.type == TRITON_DEVICE
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    assert got.is_contiguous()
    got, want = got.cpu(), want.cpu()
    bad = (got != want).nonzero()
    assert len(bad) == 0, f"{name}{bad[0].tolist()} is {got[tuple(bad[0])]}, must be {want[tuple(bad[0])]}"


def check(
    operator: Callable[..., Sequence[Tensor]],
    names: tuple[str, ...],
    arguments: dict[str, Any],
    layout: Callable[[Tensor], Tensor] = lambda x: x,
) -> tuple[Tensor, ...]:
    """Run ``operator`` on both, the Triton call with its tensors laid out by ``layout``; returns its outputs."""
    want = operator(**arguments, backend=live(operator.__name__)[0])
    laid_out = {k: layout(v) if isinstance(v, Tensor) else v for k, v in moved(arguments).items()}
    got = operator(**laid_out, backend="triton")
    for name, a, b in zip(names, got, want, strict=True):
        assert_same(name, a, b)
    return tuple(got)


def far_apart(shape: tuple[int, ...], dtype: torch.dtype, stride: int) -> Tensor:
    """An empty tensor whose first axis strides over more memory than there need be, for offsets beyond 32 bits."""
    size = (shape[0] - 1) * stride + torch.Size(shape[1:]).numel()
    if TRITON_DEVICE == "cuda":
        flat = torch.zeros(size, dtype=dtype, device=TRITON_DEVICE)
    else:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        flat = torch.frombuffer(mmap.mmap(-1, size * dtype.itemsize, flags=flags), dtype=dtype)
    inner = torch.empty(shape[1:], device="meta").stride()
    return flat.as_strided(shape, (stride, *inner))
