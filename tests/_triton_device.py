"""Runs the operators' tests on the Triton kernels: tensors go where those run, results come back to the CPU.

In the interpreter that is nowhere. On a CUDA device every argument is copied with its strides and its place in its
storage, so that layouts and far offsets are tested there too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from _live import TRITON_DEVICE
from torch import Tensor

import sjd2_kernels

IN_PLACE = ("k_cache", "v_cache")


def there(value: Any) -> Any:
    """A tensor on the device of the Triton kernels, other values as they are."""
    if not isinstance(value, Tensor) or value.device.type == TRITON_DEVICE:
        return value
    if value.requires_grad:
        return value.to(TRITON_DEVICE)
    storage = torch.empty(0, dtype=value.dtype, device=TRITON_DEVICE).set_(value.untyped_storage().to(TRITON_DEVICE))
    return storage.as_strided(value.shape, value.stride(), value.storage_offset())


def here(value: Any) -> Any:
    """Tensors on the CPU, in a tuple or alone."""
    return tuple(map(here, value)) if isinstance(value, tuple) else value.cpu()


def moving(operator: Callable[..., Any]) -> Callable[..., Any]:
    """``operator`` on CPU tensors, run where backend="triton" runs; what it writes in place comes back as well."""

    def run(*args: Any, backend: str | None = None, **kwargs: Any) -> Any:
        if backend != "triton":
            return operator(*args, backend=backend, **kwargs)
        moved = {name: there(value) for name, value in kwargs.items()}
        out = operator(*map(there, args), backend=backend, **moved)
        for name in kwargs.keys() & set(IN_PLACE):
            if moved[name] is not kwargs[name]:
                kwargs[name].copy_(moved[name])
        return here(out)

    return run


@pytest.fixture
def triton_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public functions take CPU tensors with backend="triton", on any machine."""
    for name in ("noise_embed", "noise_mix", "nearest_token", "window_attention"):
        monkeypatch.setattr(sjd2_kernels, name, moving(getattr(sjd2_kernels, name)))
