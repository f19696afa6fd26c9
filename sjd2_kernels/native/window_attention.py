"""window_attention on the CPU: hands addresses and strides to csrc/cpu/window_attention.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import dense, rows_last
from . import DTYPE_CODES, address, empty, module


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    kv_len: Tensor,
    q_start: Tensor,
    scale: float,
    time_k: Tensor | None = None,
    time_v: Tensor | None = None,
    level: Tensor | None = None,
    done: Tensor | None = None,
    *,
    shadow: int = 0,
    refeed: int = 1,
) -> Tensor:
    """The native implementation of ``sjd2::window_attention``."""
    R, M, H, D = q.shape
    Hkv, S = k_cache.shape[1:3]
    q, k, v = rows_last(q), rows_last(k), rows_last(v)
    kv_len, q_start = kv_len.contiguous(), q_start.contiguous()
    time_k, time_v, level, done = dense(time_k), dense(time_v), dense(level), dense(done)
    out = empty((R, M, H, D), q.dtype)
    threads, native = torch.get_num_threads(), module()
    size = native.window_attention_scratch(R, M, H, Hkv, D, q.dtype == torch.float64, threads)
    scratch = empty((size // 4,), torch.float32)
    native.window_attention(
        DTYPE_CODES[q.dtype], R, M, H, Hkv, D, S, *map(address, (q, k, v, k_cache, v_cache, out)),
        *(tensor.stride()[:3] for tensor in (q, k, v, k_cache, v_cache)), address(kv_len), address(q_start), scale,
        address(time_k), address(time_v), address(level), 0 if time_k is None else time_k.shape[0],
        shadow, refeed, address(done), 0 if done is None else done.shape[0], address(scratch), threads,
    )  # fmt: skip
    return out
