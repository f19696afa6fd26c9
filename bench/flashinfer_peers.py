"""FlashInfer and flash-attn as peers, where they can be imported.

Neither could be run where this was written: the calls follow their documentation, and a call that fails is reported
with its message instead of a time.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch
from torch import Tensor

from .case import Missing
from .clock import Variant

WORKSPACE = 128 << 20  # bytes, as FlashInfer's documentation asks for


def imported(name: str) -> ModuleType:
    """The module.

    Raises: Missing where it is not installed, or there is no device for it.
    """
    try:
        module = importlib.import_module(name)
    except ImportError:
        raise Missing("not installed") from None
    if not torch.cuda.is_available():
        raise Missing("needs a CUDA device")
    return module


def sampling(draft: Tensor, guidance: float, k: int) -> Variant:
    """Its softmax, top-k renormalisation, sampling, and chain speculative sampling, on [B, L, V] logits.

    Its chain wants the law of one more token at the end; the last slot's serves, which costs it nothing extra.
    """
    flashinfer = imported("flashinfer")
    s = flashinfer.sampling

    def call(cond: Tensor, uncond: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        B, L, V = cond.shape
        p = torch.softmax((uncond.float() + guidance * (cond.float() - uncond.float())).view(-1, V), -1)
        p = s.top_k_renorm_probs(p, k) if k else p
        fresh = s.sampling_from_probs(p)
        laws = p.view(B, L, V)
        found = s.chain_speculative_sampling(q[:, :-1].contiguous(), draft[:, :-1].int().contiguous(), laws)
        return (fresh, *found)

    return Variant(call)


def append_attention(R: int, M: int, H: int, Hkv: int, D: int, prefix: int, dtype: torch.dtype) -> Variant:
    """FlashInfer's attention of M rows over prefix + M keys of each model row, bottom-right causal."""
    flashinfer = imported("flashinfer")
    workspace = torch.empty(WORKSPACE, dtype=torch.uint8, device="cuda")
    wrapper = flashinfer.BatchPrefillWithRaggedKVCacheWrapper(workspace, "NHD")
    rows, keys = (torch.arange(R + 1, dtype=torch.int32, device="cuda") * n for n in (M, prefix + M))
    wrapper.plan(rows, keys, H, Hkv, D, causal=True, q_data_type=dtype)

    def call(q: Tensor, k: Tensor, v: Tensor, k_rows: Tensor, v_rows: Tensor) -> Tensor:
        out: Tensor = wrapper.run(q.flatten(0, 1), k_rows.flatten(0, 1), v_rows.flatten(0, 1))
        return out.view(R, M, H, D)

    return Variant(call)


def flash_attention(R: int, prefix: int) -> Variant:
    """flash-attn's attention with a cache; it appends the rows within the call, as ours does."""
    flash = imported("flash_attn")
    length = torch.full((R,), prefix, dtype=torch.int32, device="cuda")

    def call(q: Tensor, k: Tensor, v: Tensor, k_rows: Tensor, v_rows: Tensor) -> Tensor:
        out: Tensor = flash.flash_attn_with_kvcache(q, k_rows, v_rows, k, v, cache_seqlens=length, causal=True)
        return out

    return Variant(call)
