"""The public Python face: the operators with defaults, and numbers broadcast to the tensors the raw operators take.

Every function takes ``backend=None | "native" | "triton" | "cuda" | "reference"``: None goes through
``torch.ops.sjd2`` (and composes with torch.compile); a name runs that implementation directly.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from . import autograd, validation

Number = float | int


def _call(operator: str, device: torch.device, backend: str | None, *args: Any, **kwargs: Any) -> Any:
    if backend is None:
        return getattr(torch.ops.sjd2, operator)(*args, **kwargs)
    validation.CHECKS[operator](*args, **kwargs)
    return autograd.differentiable(operator, device.type, backend)(*args, **kwargs)


class _Numbers:
    """Numbers of one call as tensors on the device of ``anchor``: one per leading row of it, or of a given shape."""

    def __init__(self, op: str, name: str, anchor: Tensor) -> None:
        if not isinstance(anchor, Tensor):
            raise TypeError(f"{op}: {name} must be a tensor, got {type(anchor).__name__}")
        self.op, self.rows, self.device = op, tuple(anchor.shape[:1]), anchor.device

    def __call__(
        self, name: str, value: Tensor | Number | None, dtype: torch.dtype, shape: tuple[int, ...] | None = None
    ) -> Tensor | None:
        """A number, or a 0-d tensor, spread out; other tensors, and None, are taken as they are."""
        shape = self.rows if shape is None else shape
        if value is None or isinstance(value, Tensor):
            return value.to(dtype).expand(shape).contiguous() if value is not None and value.dim() == 0 else value
        if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # a NumPy scalar
            value = value.item()
        if not isinstance(value, Number if dtype.is_floating_point else int):
            wanted = "number" if dtype.is_floating_point else "whole number"
            raise TypeError(f"{self.op}: {name} must be a tensor or a {wanted}, got {type(value).__name__}")
        if not torch.compiler.is_compiling():
            limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
            if not limits.min <= value <= limits.max and value not in (math.inf, -math.inf) and value == value:
                raise ValueError(f"{self.op}: {name} must be in {limits.min}..{limits.max}, got {value}")
        value = float(value) if dtype.is_floating_point else value
        return torch.full(shape, value, dtype=dtype, device=self.device)


def process_logits(
    cond: Tensor,
    uncond: Tensor | None = None,
    guidance: Tensor | Number | None = None,
    temperature: Tensor | Number | None = None,
    top_k: Tensor | int | None = None,
    top_p: Tensor | Number | None = None,
    seed: Tensor | int | None = None,
    pos: Tensor | int | None = None,
    epoch: Tensor | int | None = None,
    forced: Tensor | None = None,
    done: Tensor | None = None,
    *,
    backend: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Guidance, constraint, temperature, top-k, top-p, softmax and one draw, in one read of the logits.

    Args:
        cond: [B, L, V] float32, bfloat16, float16 or float64, logits over the image ids only.
        uncond: as cond, the logits of the unconditional rows.
        guidance: number or [B] float32, scale g of u + g (c - u); None is off, or 1 with uncond.
        temperature: number or [B] float32; None is 1, and 0 takes the largest logit.
        top_k: int or [B] int64; None or 0 is off.
        top_p: number or [B] float32; None or 1 is off.
        seed: int or [B] int64, key of the draw; None is 0.
        pos: int or [B] int64, position of slot 0; None is 0.
        epoch: int or [B] int64, epoch of the draw; None is 0.
        forced: [B, L] int64, the id a slot must hold, -1 where free.
        done: [B] int32, images to skip.
        backend: None (the best that is live), "native", "triton", "cuda" or "reference".

    Returns:
        p: [B, L, V] float32, the law after all processing.
        fresh: [B, L] int64, a draw of p per slot.
        status: [B, L] int32, 0 or the sum of 1 (NaN), 2 (+inf) and 4 (no id left).

    Raises:
        ValueError: a wrong shape or device; a negative temperature, a NaN, guidance other than 1 without uncond.
        TypeError: a wrong dtype.
        RuntimeError: a backend asked for by name that is not live here.

    Determinism: L3, identical on every backend. Source: the processors of transformers, in their order; the draw is an
    exponential race.

    Examples:
        >>> p, fresh, status = process_logits(torch.randn(1, 4, 100), top_k=10, seed=1)
        >>> int((p > 0).sum(-1).max())
        10
    """
    number = _Numbers("process_logits", "cond", cond)
    for name, value in (("guidance", guidance), ("temperature", temperature), ("top_p", top_p)):
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"process_logits: {name} must be a number, got nan")
    if isinstance(temperature, Number) and temperature < 0:
        raise ValueError(f"process_logits: temperature must be >= 0, got {temperature}")
    if isinstance(guidance, Number) and guidance == 1 and uncond is None:
        guidance = None
    real, whole = torch.float32, torch.int64
    return _call(
        "process_logits", number.device, backend, cond, uncond,
        number("guidance", guidance, real), number("temperature", temperature, real),
        number("top_k", top_k, whole), number("top_p", top_p, real),
        number("seed", seed, whole), number("pos", pos, whole), number("epoch", epoch, whole), forced, done,
    )  # fmt: skip


def verify_accept(
    draft: Tensor,
    p: Tensor,
    q: Tensor,
    seed: Tensor | int,
    pos: Tensor | int,
    fresh: Tensor | None = None,
    epoch: Tensor | int | None = None,
    verifiable: Tensor | None = None,
    forced: Tensor | None = None,
    done: Tensor | None = None,
    *,
    accept: str = "ratio",
    redraw: str = "fresh",
    backend: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Accept drafted tokens left to right, replace the first rejected one by a residual sample, redraw the rest.

    Args:
        draft: [B, L] int64, the drafted tokens, -1 for none.
        p: [B, L, V] float32, the normalised law of each token.
        q: [B, L, V] float32; q[b, j] is the law that draft[b, j] was drawn from.
        seed: int or [B] int64, key of the draws.
        pos: int or [B] int64, position of slot 0.
        fresh: [B, L] int64, a draw of p per slot.
        epoch: int or [B] int64; None is 0.
        verifiable: [B, L] bool, False where the draft has no q.
        forced: [B, L] int64, the id a slot must hold, -1 where free.
        done: [B] int32, images to skip.
        accept: "ratio" (speculative sampling) or "match" (draft == fresh).
        redraw: what follows the first rejection: "fresh", "couple" or "keep".
        backend: None (the best that is live), "native", "triton", "cuda" or "reference".

    Returns:
        accept_len: [B] int32, length n of the accepted prefix.
        tokens: [B, L] int64, the accepted drafts, the replacement of the first rejected one, and the redrawn rest.
        ratio: [B, L] float32, min(1, p(draft) / q(draft)).

    Raises:
        ValueError: a wrong shape or device, a word that is not an option, match without fresh.
        TypeError: a wrong dtype.
        RuntimeError: a backend asked for by name that is not live here.

    Determinism: L3, identical on every backend. Source: SJD2 Eq. 1; SJD (arXiv 2410.01699); couple: arXiv 2510.24211.

    Examples:
        >>> p = torch.full((1, 3, 4), 0.25)
        >>> verify_accept(torch.tensor([[0, 1, 2]]), p, p, seed=0, pos=0)[0]
        tensor([3], dtype=torch.int32)
    """
    number = _Numbers("verify_accept", "draft", draft)
    return _call(
        "verify_accept", number.device, backend, draft, p, q, number("seed", seed, torch.int64),
        number("pos", pos, torch.int64), fresh, number("epoch", epoch, torch.int64), verifiable,
        forced, done, accept=accept, redraw=redraw,
    )  # fmt: skip


def commit(
    tokens: Tensor,
    draft: Tensor,
    accept_len: Tensor,
    ids: Tensor,
    prompt_len: Tensor | int,
    n_tokens: Tensor | int,
    out: Tensor,
    pos: Tensor,
    kv_len: Tensor,
    q_start: Tensor,
    refeed: Tensor,
    epoch: Tensor,
    done: Tensor,
    level: Tensor | None = None,
    *,
    backend: str | None = None,
) -> Tensor:
    """The integer bookkeeping of a decoding step: output ids, positions, cache lengths, re-feed rows, done flags.

    Args:
        tokens: [B, L] int64, from `verify_accept`.
        draft: [B, L] int64, the tokens that the window rows were fed with.
        accept_len: [B] int32, from `verify_accept`.
        ids: [V+F] int64, the model's id of every local id.
        prompt_len: int or [R] int32, prompt tokens of each model row.
        n_tokens: int or [B] int64, tokens to generate.
        out: [B, N] int64, written in place: the model's ids of the generated tokens.
        pos: [B] int64, written in place: the number of committed tokens.
        kv_len: [R] int32, written in place: valid entries of the row's cache.
        q_start: [R] int32, written in place: unused leading re-feed rows.
        refeed: [B, A] int64, written in place: the model's ids to feed again.
        epoch: [B] int64, written in place: forward passes of the image so far.
        done: [B] int32, written in place: 1 when all tokens are there.
        level: [B, L] int32, the level each slot was fed at; None is all clean.
        backend: None (the best that is live), "native", "triton" or "reference".

    Returns:
        n_commit: [B] int32, the tokens committed in this step.

    Raises:
        ValueError: a wrong shape or device.
        TypeError: a wrong dtype.
        RuntimeError: a backend asked for by name that is not live here.

    Determinism: L3, identical on every backend. Source: the cache rule of the decoder (ours); the equations are in
    docs/operators.md.

    Examples:
        >>> whole = lambda *shape: torch.zeros(shape, dtype=torch.int64)
        >>> small = lambda value: torch.tensor([value], dtype=torch.int32)
        >>> out, pos, kv_len, q_start, done = whole(1, 8), whole(1), small(6), small(0), small(0)
        >>> tokens = torch.tensor([[3, 1, 4, 1]])
        >>> state = out, pos, kv_len, q_start, whole(1, 1), whole(1), done
        >>> commit(tokens, tokens, small(2), torch.arange(10), 7, 8, *state)
        tensor([3], dtype=torch.int32)
        >>> out[0].tolist(), pos.tolist(), kv_len.tolist()
        ([3, 1, 4, 0, 0, 0, 0, 0], [3], [9])
    """
    number = _Numbers("commit", "tokens", tokens)
    return _call(
        "commit", number.device, backend, tokens, draft, accept_len, ids,
        _Numbers("commit", "kv_len", kv_len)("prompt_len", prompt_len, torch.int32),
        number("n_tokens", n_tokens, torch.int64), out, pos, kv_len, q_start, refeed, epoch, done, level,
    )  # fmt: skip
