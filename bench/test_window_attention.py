"""window_attention beside scaled_dot_product_attention on the same tensors: a window over a long prefix, and one row.

PyTorch's function has no lengths and no bottom-right causal mask, so it gets an explicit mask (boolean and additive),
contiguous queries, and keys and values that already hold the window; with grouped heads also copies repeated to all
heads beforehand. Ours appends the window to the cache within the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

import sjd2_kernels

from . import harness

Tensors = tuple[Tensor, ...]
NO_SLOWER = 1.0


def call(M: int, H: int, Hkv: int, D: int, prefix: int, dtype: torch.dtype) -> Tensors:
    """q, k, v [1, M, H or Hkv, D] and caches [1, Hkv, prefix + M, D] that hold k and v already."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, M, heads, D).to(dtype) for heads in (H, Hkv, Hkv))
    caches = [torch.randn(1, Hkv, prefix + M, D).to(dtype) for _ in range(2)]
    for cache, rows in zip(caches, (k, v), strict=True):
        cache[:, :, prefix:] = rows.transpose(1, 2)
    return q, k, v, *caches


def peers(M: int, H: int, Hkv: int, prefix: int, dtype: torch.dtype) -> dict[str, Callable[..., Tensor]]:
    """Name -> function of (q [1, H, M, D], k, v [1, Hkv, prefix + M, D], k, v repeated to H heads)."""
    seen = torch.ones(M, prefix + M, dtype=torch.bool).tril(prefix)
    additive = torch.zeros(M, prefix + M, dtype=dtype).masked_fill(~seen, -torch.inf)
    masks = {"": None} if M == 1 else {", boolean mask": seen, ", additive mask": additive}
    made: dict[str, Callable[..., Tensor]] = {}
    for name, mask in masks.items():
        if H // Hkv == 1:
            made[f"sdpa{name}"] = lambda q, k, v, mask=mask: sdpa(q, k, v, mask)
        else:
            made[f"sdpa{name}"] = lambda q, k, v, K, V, mask=mask: sdpa(q, k, v, mask, enable_gqa=True)
            made[f"sdpa{name}, repeated heads"] = lambda q, k, v, K, V, mask=mask: sdpa(q, K, V, mask)
    return made


def compare_with_peers(compare: Any, M: int, H: int, Hkv: int, D: int, prefix: int, dtype: torch.dtype) -> None:
    """Error gate, then the interleaved timing of one case."""
    q, k, v, k_cache, v_cache = call(M, H, Hkv, D, prefix, dtype)
    kv_len, q_start = torch.tensor([prefix], dtype=torch.int32), torch.zeros(1, dtype=torch.int32)

    def ours(q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
        return sjd2_kernels.window_attention(q, k, v, k_cache, v_cache, kv_len, q_start, D**-0.5)

    grouped = H // Hkv > 1
    # error gate: at most twice the error of PyTorch in the same dtype, and one rounding of the largest output
    heads = q.transpose(1, 2).contiguous()
    mask = torch.ones(M, prefix + M, dtype=torch.bool).tril(prefix)
    exact = sdpa(heads.double(), k_cache.double(), v_cache.double(), mask, enable_gqa=grouped)
    theirs = (sdpa(heads, k_cache, v_cache, mask, enable_gqa=grouped) - exact).abs().max()
    error = (ours(q, k, v, k_cache, v_cache).transpose(1, 2) - exact).abs().max()
    assert error <= 2 * theirs + torch.finfo(dtype).eps / 2 * exact.abs().max()

    buffers = harness.copies((q, k, v, k_cache, v_cache))
    variants = {"sjd2": lambda i: ours(*buffers[i % len(buffers)])}
    prepared = [(q.transpose(1, 2).contiguous(), k_cache, v_cache) for q, _, _, k_cache, v_cache in buffers]
    if grouped:
        prepared = [(*p, *(x.repeat_interleave(H // Hkv, 1) for x in p[1:])) for p in prepared]
    others = peers(M, H, Hkv, prefix, dtype)
    for name, peer in others.items():
        variants[name] = lambda i, peer=peer: peer(*prepared[i % len(prepared)])
    heading = f"window_attention, {'grouped heads' if grouped else 'MHA'}, {'one row' if M == 1 else f'M = {M}'}"
    name = f"{H}/{Hkv} heads, D {D}, prefix {prefix}, {str(dtype).removeprefix('torch.')}"
    compare(heading, name, variants, dict.fromkeys(others, NO_SLOWER))


@pytest.mark.parametrize("prefix", [2048, 8192])
@pytest.mark.parametrize("D", [64, 128])
@pytest.mark.parametrize(("H", "Hkv"), [(8, 8), (32, 8)])
def test_window(compare: Any, H: int, Hkv: int, D: int, prefix: int) -> None:
    compare_with_peers(compare, 97, H, Hkv, D, prefix, torch.float32)


@pytest.mark.parametrize(("H", "Hkv"), [(8, 8), (32, 8)])
def test_window_in_bfloat16(compare: Any, H: int, Hkv: int) -> None:
    compare_with_peers(compare, 97, H, Hkv, 128, 2048, torch.bfloat16)


@pytest.mark.parametrize("prefix", [2048, 8192])
@pytest.mark.parametrize(("H", "Hkv"), [(8, 8), (32, 8)])
def test_one_row(compare: Any, H: int, Hkv: int, prefix: int) -> None:
    compare_with_peers(compare, 1, H, Hkv, 128, prefix, torch.float32)
