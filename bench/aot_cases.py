"""The calls whose kernels bench/aot.py compiles: per operator, cases that between them use every configuration and
every optional argument."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

Case = Callable[[], Any]


def whole(*shape: int) -> torch.Tensor:
    """int64 memory that nothing reads."""
    return torch.empty(shape, dtype=torch.int64)


def half(*shape: int) -> torch.Tensor:
    """int32 memory that nothing reads."""
    return torch.empty(shape, dtype=torch.int32)


def call(operator: str, *args: Any, **kwargs: Any) -> Any:
    """Run an operator's Triton implementation, without the checks and the choice of a backend."""
    return getattr(importlib.import_module(f"sjd2_kernels.triton.{operator}"), operator)(*args, **kwargs)


def process_logits(V: int, dtype: torch.dtype = torch.bfloat16, everything: bool = True) -> Case:
    """Guidance and top-k as a decoder asks for them, or every option."""
    B, L = 2, 96
    logits = torch.empty(B, L, V, dtype=dtype)
    options = {"uncond": logits, "guidance": torch.empty(B), "top_k": whole(B), "seed": whole(B), "pos": whole(B)}
    options |= {"epoch": whole(B), "forced": whole(B, L), "done": half(B)}
    if everything:
        options |= {"temperature": torch.empty(B), "top_p": torch.empty(B)}
    return lambda: call("process_logits", logits, **options)


def verify_accept(V: int, redraw: str = "fresh", accept: str = "ratio", L: int = 96) -> Case:
    """Every optional argument."""
    B = 2
    p = torch.empty(B, L, V)
    options = {"fresh": whole(B, L), "epoch": whole(B), "verifiable": torch.empty(B, L, dtype=torch.bool)}
    options |= {"forced": whole(B, L), "done": half(B)}
    arguments = (whole(B, L), p, p, whole(B), whole(B))
    return lambda: call("verify_accept", *arguments, **options, accept=accept, redraw=redraw)


def commit(L: int, A: int, G: int) -> Case:
    """Levels included."""
    B, N = 2, 2304
    window = (whole(B, L), whole(B, L), half(B), whole(8193), half(G * B), whole(B))
    state = (whole(B, N), whole(B), half(G * B), half(G * B), whole(B, A), whole(B), half(B))
    return lambda: call("commit", *window, *state, half(B, L))


def window_attention(
    M: int, H: int, Hkv: int, D: int = 128, dtype: torch.dtype = torch.bfloat16, timesteps: bool = True
) -> Case:
    """One guided image and a cache of 4352 entries."""
    R, S, T = 2, 4352, 25
    q, k, v = (torch.empty(R, M, heads, D, dtype=dtype) for heads in (H, Hkv, Hkv))
    caches = torch.empty(2, R, Hkv, S, D, dtype=dtype)
    options: dict[str, Any] = {"done": half(1)}
    if timesteps:
        options |= {"time_k": torch.empty(T + 1, Hkv, D, dtype=dtype), "level": half(R, M)}
        options["time_v"] = torch.empty_like(options["time_k"])
    return lambda: call("window_attention", q, k, v, *caches, half(R), half(R), D**-0.5, **options)


def noise_embed(dtype: torch.dtype) -> Case:
    """A training batch."""
    B, N, C, V = 2, 512, 4096, 8192
    table, moments = torch.empty(V, C, dtype=dtype), torch.empty(2, C)
    return lambda: call("noise_embed", table, whole(B, N), *moments, torch.empty(B, N), whole(B), whole(B), half(B))


def noise_embed_backward(dtype: torch.dtype) -> Case:
    """The same batch."""
    B, N, C, V = 2, 512, 4096, 8192
    grad, token = torch.empty(B, N, C, dtype=dtype), torch.zeros(B, N, dtype=torch.int64)
    return lambda: call("noise_embed_backward", grad, token, torch.empty(B, N), half(B), V, dtype)


def noise_mix(dtype: torch.dtype) -> Case:
    """Every optional argument."""
    B, L, C, V, T = 2, 96, 4096, 8193, 25
    window = (torch.empty(B, L, C), half(B, L), whole(B, L), whole(B, L), half(B), torch.empty(T + 1))
    table, moments = torch.empty(V, C, dtype=dtype), torch.empty(2, C)
    options = (whole(B, L), whole(B), half(B), half(B))
    return lambda: call("noise_mix", *window, table, *moments, whole(B), whole(B), *options)


def nearest_token(V: int, dtype: torch.dtype, C: int = 4096) -> Case:
    """Slots that already have a token, and images that are done."""
    B, L = 2, 96
    table, bias = torch.empty(V, C, dtype=dtype), torch.empty(V)
    return lambda: call("nearest_token", torch.empty(B, L, C), table, bias, whole(B, L), half(B))


CASES: dict[str, dict[str, Case]] = {
    "process_logits": {
        "V=1000": process_logits(1000),
        "V=4096": process_logits(4096),
        "V=8192": process_logits(8192),
        "V=8192, guidance and top-k": process_logits(8192, everything=False),
        "V=32768": process_logits(32768),
        "V=32768, f32": process_logits(32768, torch.float32),
        "V=65536": process_logits(65536),
        "V=184622": process_logits(184622),
    },
    "verify_accept": {
        "V=8192": verify_accept(8192),
        "V=8192, couple": verify_accept(8192, "couple"),
        "V=8192, keep": verify_accept(8192, "keep"),
        "V=8192, match": verify_accept(8192, accept="match"),
        "V=1000, L=5, couple": verify_accept(1000, "couple", L=5),
        "V=184622, L=300": verify_accept(184622, L=300),
    },
    "commit": {"L=96, A=16, G=2": commit(96, 16, 2), "L=128, A=1, G=1": commit(128, 1, 1)},
    "noise_embed": {
        "bf16": noise_embed(torch.bfloat16),
        "f32": noise_embed(torch.float32),
        "backward, bf16": noise_embed_backward(torch.bfloat16),
        "backward, f32": noise_embed_backward(torch.float32),
    },
    "noise_mix": {"bf16": noise_mix(torch.bfloat16), "f32": noise_mix(torch.float32)},
    "nearest_token": {
        "V=8192, bf16": nearest_token(8192, torch.bfloat16),
        "V=32768, bf16": nearest_token(32768, torch.bfloat16),
        "V=8192, C=1000, bf16": nearest_token(8192, torch.bfloat16, 1000),
        "V=8192, f32": nearest_token(8192, torch.float32),
        "V=8192, f16": nearest_token(8192, torch.float16),
    },
    "window_attention": {
        "M=97, MHA 32": window_attention(97, 32, 32),
        "M=97, MHA 32, no timesteps": window_attention(97, 32, 32, timesteps=False),
        "M=97, GQA 32/8": window_attention(97, 32, 8),
        "M=1, MHA 32": window_attention(1, 32, 32),
        "M=1, GQA 32/8": window_attention(1, 32, 8),
        "M=112, GQA 32/8, D=80": window_attention(112, 32, 8, 80),
        "M=97, GQA 32/8, D=72": window_attention(97, 32, 8, 72),
        "M=97, GQA 32/8, D=256": window_attention(97, 32, 8, 256),
        "M=97, MHA 32, f32": window_attention(97, 32, 32, dtype=torch.float32),
        "M=97, MHA 32, f16": window_attention(97, 32, 32, dtype=torch.float16),
    },
}
