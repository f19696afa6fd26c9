"""The public Python face of the operators on the window's embeddings: noise, nearest tokens, attention."""

from __future__ import annotations

import torch
from torch import Tensor

from .functional import Number, _call, _Numbers


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
        table: [V, C] float32, bfloat16, float16 or float64, the embedding table.
        token: [B, N] int64; an id outside the table gives a row of zeros.
        mean: [C] float32, of the embeddings over the vocabulary.
        std: [C] float32, as mean.
        t: number or [B, N] float32, 0 clean, 1 pure noise.
        seed: int or [B] int64, key of the noise.
        pos: int or [B] int64, position of token[:, 0].
        done: [B] int32, images to skip.
        backend: None (the best that is live), "native", "triton" or "reference".

    Returns:
        rows: [B, N, C] of the table's dtype.

    Raises:
        ValueError: a wrong shape or device.
        TypeError: a wrong dtype.
        RuntimeError: a backend asked for by name that is not live here.

    Determinism: L2, a tolerance across backends. Source: SJD2 Eq. 2 and App. A.

    Examples:
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
        level: [B, L] int32, 0 is clean.
        tokens: [B, L] int64, from `verify_accept`: what clean slots hold.
        fresh: [B, L] int64, from `process_logits`: what noisy slots are denoised toward.
        shift: int or [B] int32, tokens committed in this step; L for the first window of a picture.
        times: [T+1] float32, time of each level, times[0] = 0.
        table: [V+F, C] float32, bfloat16, float16 or float64, embedding rows of the local ids.
        mean: [C] float32, of the embeddings over the vocabulary.
        std: [C] float32, as mean.
        seed: int or [B] int64, key of the noise.
        pos: int or [B] int64, position of slot 0 after the shift.
        forced: [B, L] int64, what the slots after the shift must be, -1 where free.
        n_tokens: int or [B] int64; slots at later positions are outside the image.
        accept_len: [B] int32; slots up to it that were not committed become clean with their token.
        done: [B] int32, images to skip.
        backend: None (the best that is live), "native", "triton" or "reference".

    Returns:
        state: [B, L, C], the new window.
        level: [B, L] int32, the new levels.
        draft: [B, L] int64, the tokens of clean slots, -1 for noisy ones.
        rows: [B, L, C] of the table's dtype, the new window for the model.

    Raises:
        ValueError: a wrong shape or device.
        TypeError: a wrong dtype.
        RuntimeError: a backend asked for by name that is not live here.

    Determinism: L2, a tolerance across backends. Source: SJD2 Eq. 3.

    Examples:
        >>> table, times = torch.eye(4), torch.tensor([0.0, 0.5, 1.0])
        >>> state, level, token = torch.ones(1, 2, 4), torch.tensor([[2, 1]], dtype=torch.int32), torch.tensor([[3, 0]])
        >>> new = noise_mix(state, level, token, token, 0, times, table, table.mean(0), table.std(0), seed=7, pos=0)
        >>> new[0].tolist()  # half way toward token 3; token 0
        [[[0.5, 0.5, 0.5, 1.0], [1.0, 0.0, 0.0, 0.0]]]
        >>> new[1].tolist(), new[2].tolist()
        ([[1, 0]], [[-1, 0]])
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
        table: [V, C] float32, bfloat16, float16 or float64.
        bias: [V] float32 or float64.
        draft: [B, L] int64; an id >= 0 is returned as it is.
        done: [B] int32, images to skip.
        backend: None (the best that is live), "native", "triton" or "reference".

    Returns:
        token: [B, L] int64.

    Raises:
        ValueError: a wrong shape or device, an empty table.
        TypeError: a wrong dtype.
        RuntimeError: a backend asked for by name that is not live here.

    Determinism: L2; near-ties may differ across backends. Source: SJD2; that similarity is taken in normalised space
    is ours.

    Examples:
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
        q: [R, M, H, D] float32, bfloat16, float16 or float64, queries.
        k: [R, M, Hkv, D] of q's dtype, keys.
        v: [R, M, Hkv, D] of q's dtype, values.
        k_cache: [R, Hkv, S, D] of q's dtype, written in place.
        v_cache: [R, Hkv, S, D] of q's dtype, written in place.
        kv_len: int or [R] int32, valid entries of the cache.
        q_start: int or [R] int32, unused leading rows.
        scale: multiplies the scores.
        time_k: [T+1, Hkv, D] of q's dtype, key of each level's timestep token.
        time_v: [T+1, Hkv, D] of q's dtype, value of each level's timestep token.
        level: [R, M] int32, level of each row; 0 sees no timestep.
        done: [B] int32, images to skip; row r belongs to image r mod B.
        shadow: number of shadow rows (sjd2-exact), the last ones.
        refeed: row at which the window starts.
        backend: None (the best that is live), "native", "triton" or "reference".

    Returns:
        out: [R, M, H, D] of q's dtype.

    Raises:
        ValueError: a wrong shape or device; timesteps in part.
        TypeError: a wrong dtype.
        RuntimeError: a backend asked for by name that is not live here.

    Determinism: L2, a tolerance across backends. Source: SJD2 section 4.3 for the timestep tokens.

    Examples:
        >>> k_cache, v_cache = torch.zeros(1, 2, 8, 4), torch.zeros(1, 2, 8, 4)
        >>> q, k, v = torch.randn(3, 1, 5, 2, 4)
        >>> out = window_attention(q, k, v, k_cache, v_cache, kv_len=0, q_start=0, scale=0.5)
        >>> torch.equal(out[0, 0], v[0, 0]), torch.equal(k_cache[0, :, :5], k[0].transpose(0, 1))
        (True, True)
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
        mean: [C] float32, of the embeddings over the vocabulary.
        std: [C] float32, as mean.
        dtype: of the table; None is the dtype of the embeddings.

    Returns:
        table: [V, C], unit rows of (embeddings - mean) / std, divided by std.
        bias: [V] float32, -mean . table.

    Examples:
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
