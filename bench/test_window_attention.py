"""window_attention at 97 rows over a long prefix, float32, beside SDPA with an explicit mask on the same tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import sjd2_kernels

from . import harness

M = 97


def masked_sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, repeated: bool) -> Tensor:
    """SDPA over cache views that hold the window's keys already; query heads grouped, or keys and values repeated."""
    groups = q.shape[2] // k.shape[1]
    if repeated:
        k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
    out = torch.nn.functional.scaled_dot_product_attention(
        q.transpose(1, 2), k, v, attn_mask=mask, scale=scale, enable_gqa=groups > 1 and not repeated
    )
    return out.transpose(1, 2)


@pytest.mark.parametrize("D", [64, 128])
@pytest.mark.parametrize("heads", [(8, 8), (32, 8)], ids=["mha8", "gqa32_8"])
@pytest.mark.parametrize("prefix", [2048, 8192])
def test_window(compare: Any, prefix: int, heads: tuple[int, int], D: int) -> None:
    torch.manual_seed(0)
    H, Hkv = heads
    q, scale = torch.randn(1, M, H, D), D**-0.5
    k, v = (torch.randn(1, M, Hkv, D) for _ in range(2))
    k_cache, v_cache = (torch.randn(1, Hkv, prefix + M, D) for _ in range(2))
    kv_len, q_start = torch.full((1,), prefix, dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
    causal = torch.ones(M, M).tril().log()
    mask = torch.cat([torch.zeros(M, prefix), causal], 1)  # added to the scores

    def ours(k_cache: Tensor, v_cache: Tensor) -> Tensor:
        return sjd2_kernels.window_attention(q, k, v, k_cache, v_cache, kv_len, q_start, scale)

    def peer(k_cache: Tensor, v_cache: Tensor, repeated: bool = False) -> Tensor:
        return masked_sdpa(q, k_cache, v_cache, mask, scale, repeated)

    # error gate: at most twice the error of the float32 peer (and one unit of float32 more)
    out, single = ours(k_cache, v_cache), peer(k_cache, v_cache)
    exact = masked_sdpa(q.double(), k_cache.double(), v_cache.double(), mask.double(), scale, False)
    assert (out - exact).abs().max() <= 2 * (single - exact).abs().max() + 2**-23

    caches = harness.copies((k_cache, v_cache))
    variants = {
        "sjd2": lambda i: ours(*caches[i % len(caches)]),
        "SDPA": lambda i: peer(*caches[i % len(caches)]),
    }
    if Hkv != H:
        variants["SDPA, heads repeated"] = lambda i: peer(*caches[i % len(caches)], repeated=True)
    targets = {name: 1.0 for name in variants if name != "sjd2"}
    name = f"prefix={prefix} H={H}/{Hkv} D={D}"
    compare(f"window_attention, {M} rows, float32, one model row", name, variants, targets)
