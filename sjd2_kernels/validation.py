"""Host-side checks of every operator's arguments: shape, dtype, device, and nothing that reads a device value.

Messages name the operator, the argument, what it must be with the real numbers, and what came:
``window_attention: k_cache must have shape [4, 8, S, 128] to match q [4, 97, 32, 128], got (4, 8, 2048, 64)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)
REAL = (torch.float32, *HALF, torch.float64)
ACCEPT = ("ratio", "match")
REDRAW = ("fresh", "couple", "keep")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class _Checker:
    """Checks of one call; ``anchor`` is the argument that the others must match."""

    def __init__(self, op: str, anchor: str, tensor: Tensor) -> None:
        self.op, self.anchor, self.tensor = op, anchor, tensor
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{op}: {anchor} must be a tensor, got {type(tensor).__name__}")
        self.device = tensor.device

    def __call__(
        self,
        name: str,
        tensor: Tensor | None,
        shape: tuple[int | str, ...],
        *dtypes: torch.dtype,
        why: str | None = None,
    ) -> None:
        """Check one argument; an axis given as a letter may have any size."""
        op = self.op
        if tensor is None and name in OPTIONAL[op]:
            return
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{op}: {name} must be a tensor, got {type(tensor).__name__}")
        if tensor.dtype in dtypes and tensor.shape == shape and tensor.device == self.device:
            return  # as nearly always; what follows finds out what is wrong, or looks at axes of any size
        if tensor.dtype not in dtypes:
            wanted = " or ".join(_name(d) for d in dtypes)
            raise TypeError(f"{op}: {name} must have dtype {wanted}, got {_name(tensor.dtype)}")
        fits = tensor.dim() == len(shape) and all(
            isinstance(want, str) or have == want for have, want in zip(tensor.shape, shape, strict=True)
        )
        if not fits:
            wanted = ", ".join(str(s) for s in shape)
            match = why or f"to match {self.anchor} {list(self.tensor.shape)}"
            raise ValueError(f"{op}: {name} must have shape [{wanted}] {match}, got {tuple(tensor.shape)}")
        if tensor.device != self.device:
            raise ValueError(
                f"{op}: {name} must be on {self.device} like {self.anchor}, got {tensor.device}; "
                f"move it with .to({str(self.device)!r})"
            )

    def number(self, name: str, value: object, *kinds: type) -> None:
        """A plain number, or the symbol that stands for one under torch.compile."""
        if not isinstance(value, kinds):
            raise TypeError(
                f"{self.op}: {name} must be of type {kinds[-1].__name__[3:].lower()}, got {type(value).__name__}"
            )

    def together(self, **group: Tensor | None) -> None:
        """The named arguments are given all together or not at all."""
        missing = [name for name, value in group.items() if value is None]
        if missing and len(missing) != len(group):
            raise ValueError(f"{self.op}: {', '.join(group)} must be given all or none, got no {', '.join(missing)}")

    def fail(self, text: str) -> None:
        raise ValueError(f"{self.op}: {text}")


def _start(op: str, anchor: str, tensor: Tensor, shape: tuple[str, ...], *dtypes: torch.dtype) -> _Checker:
    check = _Checker(op, anchor, tensor)
    check(anchor, tensor, shape, *dtypes, why="(see docs/operators.md for the letters)")
    return check


def noise_embed(
    table: Tensor, token: Tensor, mean: Tensor, std: Tensor, t: Tensor, seed: Tensor, pos: Tensor,
    done: Tensor | None = None,
) -> None:  # fmt: skip
    """Check the arguments of `noise_embed`."""
    check = _start("noise_embed", "table", table, ("V", "C"), *REAL)
    C = table.shape[1]
    check("mean", mean, (C,), torch.float32)
    check("std", std, (C,), torch.float32)
    check("token", token, ("B", "N"), torch.int64, why="(one id per position)")
    B, N = token.shape
    rows = f"to match token {[B, N]}"
    check("t", t, (B, N), torch.float32, why=rows)
    check("seed", seed, (B,), torch.int64, why=rows)
    check("pos", pos, (B,), torch.int64, why=rows)
    check("done", done, (B,), torch.int32, why=rows)


def noise_mix(
    state: Tensor, level: Tensor, tokens: Tensor, fresh: Tensor, shift: Tensor, times: Tensor, table: Tensor,
    mean: Tensor, std: Tensor, seed: Tensor, pos: Tensor, forced: Tensor | None = None,
    n_tokens: Tensor | None = None, accept_len: Tensor | None = None, done: Tensor | None = None,
) -> None:  # fmt: skip
    """Check the arguments of `noise_mix`."""
    check = _start("noise_mix", "state", state, ("B", "L", "C"), torch.float32, torch.float64)
    B, L, C = state.shape
    check("level", level, (B, L), torch.int32)
    check("tokens", tokens, (B, L), torch.int64)
    check("fresh", fresh, (B, L), torch.int64)
    check("shift", shift, (B,), torch.int32)
    check("times", times, ("T+1",), torch.float32, why="(one time per level)")
    if times.shape[0] < 1:
        check.fail("times must hold at least the time of level 0, got an empty tensor")
    check("table", table, ("V+F", C), *REAL)
    if (table.dtype == torch.float64) != (state.dtype == torch.float64):
        check.fail(
            f"state must be {'float64' if table.dtype == torch.float64 else 'float32'} to match the "
            f"{_name(table.dtype)} table, got {_name(state.dtype)}"
        )
    check("mean", mean, (C,), torch.float32)
    check("std", std, (C,), torch.float32)
    check("seed", seed, (B,), torch.int64)
    check("pos", pos, (B,), torch.int64)
    check("forced", forced, (B, L), torch.int64)
    check("n_tokens", n_tokens, (B,), torch.int64)
    check("accept_len", accept_len, (B,), torch.int32)
    check("done", done, (B,), torch.int32)


def nearest_token(
    state: Tensor, table: Tensor, bias: Tensor, draft: Tensor | None = None, done: Tensor | None = None
) -> None:
    """Check the arguments of `nearest_token`."""
    check = _start("nearest_token", "state", state, ("B", "L", "C"), torch.float32, torch.float64)
    B, L, C = state.shape
    check("table", table, ("V", C), *REAL)
    V = table.shape[0]
    if V < 1:
        check.fail("table must hold at least one id, got 0 rows")
    check("bias", bias, (V,), torch.float32, torch.float64, why=f"to match table {[V, C]}")
    check("draft", draft, (B, L), torch.int64)
    check("done", done, (B,), torch.int32)


def window_attention(
    q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, kv_len: Tensor, q_start: Tensor, scale: float,
    time_k: Tensor | None = None, time_v: Tensor | None = None, level: Tensor | None = None,
    done: Tensor | None = None, *, shadow: int = 0, refeed: int = 1,
) -> None:  # fmt: skip
    """Check the arguments of `window_attention`."""
    check = _start("window_attention", "q", q, ("R", "M", "H", "D"), *REAL)
    R, M, H, D = q.shape
    check("k", k, (R, M, "Hkv", D), q.dtype)
    Hkv = k.shape[2]
    if Hkv < 1 or H % Hkv:
        check.fail(f"k must have a number of heads that divides the {H} of q, got {Hkv}")
    check("v", v, (R, M, Hkv, D), q.dtype)
    check("k_cache", k_cache, (R, Hkv, "S", D), q.dtype)
    check("v_cache", v_cache, (R, Hkv, k_cache.shape[2], D), q.dtype, why=f"to match k_cache {list(k_cache.shape)}")
    for name, cache in (("k_cache", k_cache), ("v_cache", v_cache)):
        if cache.numel() and cache.stride(-1) != 1:
            check.fail(f"{name} must have stride 1 in its last axis (it is written in place), got {cache.stride(-1)}")
    check("kv_len", kv_len, (R,), torch.int32)
    check("q_start", q_start, (R,), torch.int32)
    check.together(time_k=time_k, time_v=time_v, level=level)
    check("time_k", time_k, ("T+1", Hkv, D), q.dtype)
    if time_k is not None:
        check("time_v", time_v, (time_k.shape[0], Hkv, D), q.dtype, why=f"to match time_k {list(time_k.shape)}")
    check("level", level, (R, M), torch.int32)
    if done is not None:
        check("done", done, ("B",), torch.int32, why="(one flag per image)")
        if (done.shape[0] < 1 and R) or (done.shape[0] and R % done.shape[0]):
            check.fail(f"done must have a length that divides the {R} rows of q, got {done.shape[0]}")
    check.number("scale", scale, int, float, torch.SymInt, torch.SymFloat)
    for name, value in (("shadow", shadow), ("refeed", refeed)):
        check.number(name, value, int, torch.SymInt)
    if shadow < 0 or refeed < 0 or (shadow and refeed + 2 * shadow > M):
        check.fail(
            f"shadow and refeed must leave as many window rows as shadow rows among the {M} rows of q "
            f"(refeed + 2 * shadow <= M), got shadow={shadow}, refeed={refeed}"
        )


def process_logits(
    cond: Tensor, uncond: Tensor | None = None, guidance: Tensor | None = None, temperature: Tensor | None = None,
    top_k: Tensor | None = None, top_p: Tensor | None = None, seed: Tensor | None = None, pos: Tensor | None = None,
    epoch: Tensor | None = None, forced: Tensor | None = None, done: Tensor | None = None,
) -> None:  # fmt: skip
    """Check the arguments of `process_logits`."""
    check = _start("process_logits", "cond", cond, ("B", "L", "V"), *REAL)
    B, L, V = cond.shape
    if V < 1:
        check.fail(f"cond must have at least one id in its last axis, got {tuple(cond.shape)}")
    check("uncond", uncond, (B, L, V), cond.dtype)
    if guidance is not None and uncond is None:
        check.fail("guidance needs uncond, the logits of the unconditional rows, got None")
    for name, value in (("guidance", guidance), ("temperature", temperature), ("top_p", top_p)):
        check(name, value, (B,), torch.float32)
    for name, value in (("top_k", top_k), ("seed", seed), ("pos", pos), ("epoch", epoch)):
        check(name, value, (B,), torch.int64)
    check("forced", forced, (B, L), torch.int64)
    check("done", done, (B,), torch.int32)


def verify_accept(
    draft: Tensor, p: Tensor, q: Tensor, seed: Tensor, pos: Tensor, fresh: Tensor | None = None,
    epoch: Tensor | None = None, verifiable: Tensor | None = None, forced: Tensor | None = None,
    done: Tensor | None = None, *, accept: str = "ratio", redraw: str = "fresh",
) -> None:  # fmt: skip
    """Check the arguments of `verify_accept`."""
    check = _start("verify_accept", "p", p, ("B", "L", "V"), torch.float32)
    B, L, V = p.shape
    if V < 1:
        check.fail(f"p must have at least one id in its last axis, got {tuple(p.shape)}")
    check("draft", draft, (B, L), torch.int64)
    check("q", q, (B, L, V), torch.float32)
    for name, value in (("seed", seed), ("pos", pos), ("epoch", epoch)):
        check(name, value, (B,), torch.int64)
    check("fresh", fresh, (B, L), torch.int64)
    check("verifiable", verifiable, (B, L), torch.bool)
    check("forced", forced, (B, L), torch.int64)
    check("done", done, (B,), torch.int32)
    if accept not in ACCEPT:
        check.fail(f"accept must be one of {', '.join(ACCEPT)}, got {accept!r}")
    if redraw not in REDRAW:
        check.fail(f"redraw must be one of {', '.join(REDRAW)}, got {redraw!r}")
    if accept == "match" and fresh is None:
        check.fail("fresh must be given with accept='match', which compares the draft with it, got None")
    if accept == "match" and redraw != "fresh":
        check.fail(f"redraw must be 'fresh' with accept='match' (no residual there), got {redraw!r}")


def commit(
    tokens: Tensor, draft: Tensor, accept_len: Tensor, ids: Tensor, prompt_len: Tensor, n_tokens: Tensor,
    out: Tensor, pos: Tensor, kv_len: Tensor, q_start: Tensor, refeed: Tensor, epoch: Tensor, done: Tensor,
    level: Tensor | None = None,
) -> None:  # fmt: skip
    """Check the arguments of `commit`."""
    check = _start("commit", "tokens", tokens, ("B", "L"), torch.int64)
    B, L = tokens.shape
    check("draft", draft, (B, L), torch.int64)
    check("accept_len", accept_len, (B,), torch.int32)
    check("ids", ids, ("V+F",), torch.int64, why="(the model's id of every local id)")
    check("n_tokens", n_tokens, (B,), torch.int64)
    check("out", out, (B, "N"), torch.int64)
    check("pos", pos, (B,), torch.int64)
    check("prompt_len", prompt_len, ("R",), torch.int32, why="(one length per model row)")
    R = prompt_len.shape[0]
    if (R % B) if B else R:
        check.fail(f"prompt_len must have a multiple of the {B} images of tokens as its length, got {R}")
    rows = f"to match prompt_len {[R]}"
    check("kv_len", kv_len, (R,), torch.int32, why=rows)
    check("q_start", q_start, (R,), torch.int32, why=rows)
    check("refeed", refeed, (B, "A"), torch.int64)
    if refeed.shape[1] < 1:
        check.fail("refeed must have at least one row per image (A >= 1), got A = 0")
    check("epoch", epoch, (B,), torch.int64)
    check("done", done, (B,), torch.int32)
    check("level", level, (B, L), torch.int32)
    if B and L < 1:
        check.fail("tokens must have at least one window slot, got L = 0")


CHECKS: dict[str, Callable[..., Any]] = {
    check.__name__: check
    for check in (noise_embed, noise_mix, nearest_token, window_attention, process_logits, verify_accept, commit)
}
# the dispatcher lets None pass for any tensor; only these may be left out
OPTIONAL: dict[str, set[str]] = {
    op: {name for name, parameter in inspect.signature(check).parameters.items() if parameter.default is None}
    for op, check in CHECKS.items()
}
