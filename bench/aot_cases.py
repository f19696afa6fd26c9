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
}
