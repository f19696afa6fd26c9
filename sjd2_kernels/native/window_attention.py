"""window_attention on the CPU: csrc/cpu/window_attention.cpp."""

from __future__ import annotations

from torch import Tensor

from ..layout import dense, rows_last
from . import call


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
    """See docs/operators.md, section window_attention."""
    window = map(rows_last, (q, k, v))
    before, after = map(dense, (kv_len, q_start)), map(dense, (time_k, time_v, level, done))
    result: Tensor = call(
        "window_attention", *window, k_cache, v_cache, *before, scale, *after, shadow=shadow, refeed=refeed
    )
    return result
