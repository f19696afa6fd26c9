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
        cond, uncond: [B, L, V] float32, bfloat16, float16 or float64, over the image ids only.
        guidance, temperature, top_p: number or [B] float32; None is off.
        top_k, seed, pos, epoch: int or [B] int64; None is off, or 0.
        forced: [B, L] int64, the id a slot must hold, -1 where free.
        done: [B] int32, images to skip.
        backend: None, "native", "triton", "cuda" or "reference".

    Returns: p [B, L, V] float32; fresh [B, L] int64, a draw of p per slot; status [B, L] int32 (1 NaN, 2 +inf, 4 no id
    left).

    Raises: ValueError, TypeError on wrong shapes, dtypes, devices; ValueError for a negative temperature, a NaN number,
    or a guidance other than 1 without uncond.

    Determinism: L3. Source: the processors of SJD2 section 2 (3. Distributions), draw as an exponential race.

    Example:
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
        draft: [B, L] int64, -1 for none.
        p, q: [B, L, V] float32, normalised laws; q[b, j] is the law that draft[b, j] was drawn from.
        seed, pos: int or [B] int64, key and position of slot 0.
        fresh: [B, L] int64, a draw of p per slot.
        epoch: int or [B] int64; None is 0.
        verifiable: [B, L] bool, False where the draft has no q.
        forced: [B, L] int64, the id a slot must hold, -1 where free.
        done: [B] int32, images to skip.
        accept: "ratio" (speculative sampling) or "match" (draft == fresh).
        redraw: what follows the first rejection: "fresh", "couple" or "keep".
        backend: None, "native", "triton", "cuda" or "reference".

    Returns: accept_len [B] int32; tokens [B, L] int64; ratio [B, L] float32.

    Raises: ValueError, TypeError on wrong shapes, dtypes, devices or words.

    Determinism: L3. Source: SJD2 Eq. 1; SJD (arXiv 2410.01699); couple: arXiv 2510.24211.

    Example:
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
        tokens, draft, level: [B, L] int64, int64, int32: verified tokens, tokens fed, levels fed (None: all clean).
        accept_len: [B] int32.
        ids: [V+F] int64, the model's id of every local id.
        prompt_len: int or [R] int32.
        n_tokens: int or [B] int64, tokens to generate.
        out, pos, kv_len, q_start, refeed, epoch, done: state, written in place: [B, N] int64, [B] int64, [R] int32,
            [R] int32, [B, A] int64, [B] int64, [B] int32.
        backend: None, "native", "triton" or "reference".

    Returns: n_commit [B] int32, the tokens committed in this step.

    Raises: ValueError, TypeError on wrong shapes, dtypes or devices.

    Determinism: L3. Source: SJD2 section 2 (7. Cache), equations in docs/operators.md.

    Example: see docs/operators.md.
    """
    number = _Numbers("commit", "tokens", tokens)
    return _call(
        "commit", number.device, backend, tokens, draft, accept_len, ids,
        _Numbers("commit", "kv_len", kv_len)("prompt_len", prompt_len, torch.int32),
        number("n_tokens", n_tokens, torch.int64), out, pos, kv_len, q_start, refeed, epoch, done, level,
    )  # fmt: skip


def noise_embed(
    table: Tensor,
    token: Tensor,
    mean: Tensor,
    std: Tensor,
    t: Tensor | Number,
    seed: Tensor | int = 0,
    pos: Tensor | int = 0,
    done: Tensor | None = None,
    *,
    backend: str | None = None,
) -> Tensor:
    """The forward process: (1 - t) * table[token] + t * (mean + std * eps), differentiable in the table.

    Args:
        table: [V, C] float32, bfloat16, float16 or float64.
        token: [B, N] int64; an id outside the table gives a row of zeros.
        mean, std: [C] float32, of the embeddings over the vocabulary.
        t: number or [B, N] float32, 0 clean, 1 pure noise.
        seed, pos: int or [B] int64, key and position of token[:, 0].
        done: [B] int32, images to skip.
        backend: None, "native", "triton" or "reference".

    Returns: rows [B, N, C] of the table's dtype.

    Raises: ValueError, TypeError on wrong shapes, dtypes or devices.

    Determinism: L2; across backends to a tolerance. Source: SJD2 Eq. 2, App. A.

    Example:
        >>> table = torch.eye(4)
        >>> noise_embed(table, torch.tensor([[2]]), table.mean(0), table.std(0), t=0.0)
        tensor([[[0., 0., 1., 0.]]])
    """
    number = _Numbers("noise_embed", "token", token)
    return _call(
        "noise_embed", number.device, backend, table, token, mean, std,
        number("t", t, torch.float32, tuple(token.shape)), number("seed", seed, torch.int64),
        number("pos", pos, torch.int64), done,
    )  # fmt: skip


def noise_mix(
    state: Tensor,
    level: Tensor,
    tokens: Tensor,
    fresh: Tensor,
    shift: Tensor | int,
    times: Tensor,
    table: Tensor,
    mean: Tensor,
    std: Tensor,
    seed: Tensor | int,
    pos: Tensor | int,
    forced: Tensor | None = None,
    n_tokens: Tensor | int | None = None,
    accept_len: Tensor | None = None,
    done: Tensor | None = None,
    *,
    backend: str | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One denoising step of the window: shift by the committed count, lerp toward the prediction, refill with noise.

    Args:
        state: [B, L, C] float32 (float64 with a float64 table), de-normalised embeddings.
        level: [B, L] int32, 0 = clean.
        tokens, fresh: [B, L] int64: what clean slots hold, what noisy slots are denoised toward.
        shift: int or [B] int32, tokens committed in this step.
        times: [T+1] float32, time of each level, times[0] = 0.
        table, mean, std: [V+F, C], [C] float32, [C] float32.
        seed, pos: int or [B] int64, key and position of slot 0 after the shift.
        forced: [B, L] int64, what the slots after the shift must be, -1 where free.
        n_tokens: int or [B] int64; slots at later positions are outside the image.
        accept_len: [B] int32; slots up to it that were not committed become clean with their token.
        done: [B] int32, images to skip.
        backend: None, "native", "triton" or "reference".

    Returns: state [B, L, C]; level [B, L] int32; draft [B, L] int64 (-1 for a noisy slot); rows [B, L, C] of the
    table's dtype.

    Raises: ValueError, TypeError on wrong shapes, dtypes or devices.

    Determinism: L2; across backends to a tolerance. Source: SJD2 Eq. 3.

    Example: see docs/operators.md.
    """
    number = _Numbers("noise_mix", "state", state)
    return _call(
        "noise_mix", number.device, backend, state, level, tokens, fresh, number("shift", shift, torch.int32), times,
        table, mean, std, number("seed", seed, torch.int64), number("pos", pos, torch.int64), forced,
        number("n_tokens", n_tokens, torch.int64), accept_len, done,
    )  # fmt: skip


def nearest_token(
    state: Tensor,
    table: Tensor,
    bias: Tensor,
    draft: Tensor | None = None,
    done: Tensor | None = None,
    *,
    backend: str | None = None,
) -> Tensor:
    """The id v with the largest state . table[v] + bias[v]; with `cosine_table` the nearest token by cosine similarity.

    Args:
        state: [B, L, C] float32 or float64.
        table: [V, C] float32, bfloat16, float16 or float64; bias: [V] float32 or float64.
        draft: [B, L] int64; an id >= 0 is returned as it is.
        done: [B] int32, images to skip.
        backend: None, "native", "triton" or "reference".

    Returns: token [B, L] int64.

    Raises: ValueError, TypeError on wrong shapes, dtypes or devices.

    Determinism: L2; near-ties may differ across backends. Source: SJD2 section 2 (1. Draft).

    Example:
        >>> nearest_token(torch.eye(3)[None], torch.eye(3), torch.zeros(3))
        tensor([[0, 1, 2]])
    """
    return _call(
        "nearest_token", _Numbers("nearest_token", "state", state).device, backend, state, table, bias, draft, done
    )


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    kv_len: Tensor | int,
    q_start: Tensor | int,
    scale: float,
    time_k: Tensor | None = None,
    time_v: Tensor | None = None,
    level: Tensor | None = None,
    done: Tensor | None = None,
    *,
    shadow: int = 0,
    refeed: int = 1,
    backend: str | None = None,
) -> Tensor:
    """Append the rows' keys and values to the cache; attend to prefix, causal window, one timestep key per noisy row.

    Args:
        q: [R, M, H, D] float32, bfloat16, float16 or float64; k, v: [R, M, Hkv, D].
        k_cache, v_cache: [R, Hkv, S, D], written in place.
        kv_len, q_start: int or [R] int32: valid cache entries, unused leading rows.
        scale: multiplies the scores.
        time_k, time_v: [T+1, Hkv, D]; level: [R, M] int32, 0 sees no timestep.
        done: [B] int32, images to skip (row r belongs to image r mod B).
        shadow, refeed: shadow rows of sjd2-exact, and the row at which the window starts.
        backend: None, "native", "triton" or "reference".

    Returns: [R, M, H, D] of q's dtype.

    Raises: ValueError, TypeError on wrong shapes, dtypes or devices.

    Determinism: L2; across backends to a tolerance. Source: SJD2 section 4.3 for the timestep tokens.

    Example: see docs/operators.md.
    """
    number = _Numbers("window_attention", "q", q)
    return _call(
        "window_attention", number.device, backend, q, k, v, k_cache, v_cache, number("kv_len", kv_len, torch.int32),
        number("q_start", q_start, torch.int32), scale, time_k, time_v, level, done, shadow=shadow, refeed=refeed,
    )  # fmt: skip


def cosine_table(
    embeddings: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """The table and bias with which `nearest_token` finds the nearest token by cosine similarity in normalised space.

    Args:
        embeddings: [V, C], the rows of the image ids.
        mean, std: [C] float32.
        dtype: of the table; None is the dtype of the embeddings.

    Returns: table [V, C] = unit rows of (embeddings - mean) / std, divided by std; bias [V] float32 = -mean . table.

    Example:
        >>> table, bias = cosine_table(torch.eye(3), torch.zeros(3), torch.ones(3))
        >>> bool((table == torch.eye(3)).all())
        True
    """
    wide = torch.float64
    e = (embeddings.to(wide) - mean.to(wide)) / std.to(wide)
    table = (e / e.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(wide).tiny) / std.to(wide)).to(
        dtype or embeddings.dtype
    )
    return table, -(table.to(wide) @ mean.to(wide)).to(torch.float32)
