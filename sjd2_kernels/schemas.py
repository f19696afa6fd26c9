"""Every operator's schema and fake (shape-only) implementation, in one import-light file.

A schema is the operator's only signature: the reference, the native CPU kernels, Triton and CUDA all implement exactly
it, and docs/operators.md explains it. Letters: B images, R model rows (a multiple of B, conditional rows first),
L window slots, A re-feed rows, M = A + L query rows, H / Hkv heads, D head dim, S cache capacity, C channels,
V image ids, F forced ids, T denoising levels, N tokens to generate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import validation

NAMESPACE = "sjd2"

SCHEMAS: dict[str, str] = {
    "noise_embed": (
        "(Tensor table, Tensor token, Tensor mean, Tensor std, Tensor t, Tensor seed, Tensor pos, "
        "Tensor? done=None) -> Tensor"
    ),
    "noise_mix": (
        "(Tensor state, Tensor level, Tensor tokens, Tensor fresh, Tensor shift, Tensor times, Tensor table, "
        "Tensor mean, Tensor std, Tensor seed, Tensor pos, Tensor? forced=None, Tensor? n_tokens=None, "
        "Tensor? accept_len=None, Tensor? done=None) -> (Tensor state, Tensor level, Tensor draft, Tensor rows)"
    ),
    "nearest_token": "(Tensor state, Tensor table, Tensor bias, Tensor? draft=None, Tensor? done=None) -> Tensor",
    "window_attention": (
        "(Tensor q, Tensor k, Tensor v, Tensor(a!) k_cache, Tensor(b!) v_cache, Tensor kv_len, Tensor q_start, "
        "float scale, Tensor? time_k=None, Tensor? time_v=None, Tensor? level=None, Tensor? done=None, *, "
        "int shadow=0, int refeed=1) -> Tensor"
    ),
    "process_logits": (
        "(Tensor cond, Tensor? uncond=None, Tensor? guidance=None, Tensor? temperature=None, Tensor? top_k=None, "
        "Tensor? top_p=None, Tensor? seed=None, Tensor? pos=None, Tensor? epoch=None, Tensor? forced=None, "
        "Tensor? done=None) -> (Tensor p, Tensor fresh, Tensor status)"
    ),
    "verify_accept": (
        "(Tensor draft, Tensor p, Tensor q, Tensor seed, Tensor pos, Tensor? fresh=None, Tensor? epoch=None, "
        "Tensor? verifiable=None, Tensor? forced=None, Tensor? done=None, *, str accept='ratio', "
        "str redraw='fresh') -> (Tensor accept_len, Tensor tokens, Tensor ratio)"
    ),
    "commit": (
        "(Tensor tokens, Tensor draft, Tensor accept_len, Tensor ids, Tensor prompt_len, Tensor n_tokens, "
        "Tensor(a!) out, Tensor(b!) pos, Tensor(c!) kv_len, Tensor(d!) q_start, Tensor(e!) refeed, "
        "Tensor(f!) epoch, Tensor(g!) done, Tensor? level=None) -> Tensor"
    ),
}


def _noise_embed(table: Tensor, token: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return table.new_empty((*token.shape, table.shape[1]))


def _noise_mix(
    state: Tensor, level: Tensor, tokens: Tensor, fresh: Tensor, shift: Tensor, times: Tensor, table: Tensor,
    *args: Any, **kwargs: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    shape = state.shape
    return (
        state.new_empty(shape),
        level.new_empty(shape[:2]),
        tokens.new_empty(shape[:2]),
        table.new_empty(shape),
    )


def _nearest_token(state: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return state.new_empty(state.shape[:2], dtype=torch.int64)


def _window_attention(q: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return q.new_empty(q.shape)


def _process_logits(cond: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    rows = cond.shape[:2]
    return (
        cond.new_empty(cond.shape, dtype=torch.float32),
        cond.new_empty(rows, dtype=torch.int64),
        cond.new_empty(rows, dtype=torch.int32),
    )


def _verify_accept(draft: Tensor, p: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    return (
        p.new_empty(draft.shape[:1], dtype=torch.int32),
        draft.new_empty(draft.shape),
        p.new_empty(draft.shape),
    )


def _commit(tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return tokens.new_empty(tokens.shape[:1], dtype=torch.int32)


_SHAPES: dict[str, Callable[..., Any]] = {
    "noise_embed": _noise_embed,
    "noise_mix": _noise_mix,
    "nearest_token": _nearest_token,
    "window_attention": _window_attention,
    "process_logits": _process_logits,
    "verify_accept": _verify_accept,
    "commit": _commit,
}


def fake(name: str) -> Callable[..., Any]:
    """The fake implementation of operator ``name``: the same validation as the real one, then empty outputs."""
    check, shapes = validation.CHECKS[name], _SHAPES[name]

    def run(*args: Any, **kwargs: Any) -> Any:
        check(*args, **kwargs)
        return shapes(*args, **kwargs)

    return run
