"""commit beside the same in PyTorch: the reference implementation, some forty small operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import sjd2_kernels

from ..case import Case, Spec, within
from ..clock import Clock, Variant, copies
from ..grid import BATCHES, WINDOWS, product, star

BASE = {"B": 1, "L": 96}
A, N, V, PROMPT, ACCEPTED = 16, 9216, 8192, 30, 3  # no run gets to the end of N: there are 64 states to advance


def specs(grid: str) -> list[Spec]:
    """Window and batch."""
    axes: dict[str, Any] = {"L": WINDOWS, "B": BATCHES}
    points = [BASE | {"L": 5}] if grid == "smoke" else (product if grid == "full" else star)(BASE, axes)
    return [Spec("commit", "commit", point, headline=point == BASE) for point in points]


def build(spec: Spec, clock: Clock, device: str) -> Case:
    """A step in the middle of a picture, guidance on."""
    B, L = spec.numbers["B"], spec.numbers["L"]
    R, whole, half = 2 * B, {"dtype": torch.int64, "device": device}, {"dtype": torch.int32, "device": device}
    torch.manual_seed(0)
    tokens, draft = (torch.randint(V, (B, L), **whole) for _ in range(2))
    level = torch.zeros(B, L, **half)
    accepted, prompt = torch.full((B,), ACCEPTED, **half), torch.full((R,), PROMPT, **half)
    ids, n_tokens = torch.arange(V + 1, **whole), torch.full((B,), N, **whole)

    def state() -> tuple[Tensor, ...]:
        out = torch.full((B, N), -1, **whole)
        pos, kv_len = torch.full((B,), 100, **whole), torch.full((R,), PROMPT + 99, **half)
        start, refeed = torch.full((R,), A - 1, **half), torch.zeros(B, A, **whole)
        return out, pos, kv_len, start, refeed, torch.zeros(B, **whole), torch.zeros(B, **half)

    def call(backend: str | None, *held: Tensor) -> Tensor:
        return sjd2_kernels.commit(tokens, draft, accepted, ids, prompt, n_tokens, *held, level=level, backend=backend)

    def ours(*held: Tensor) -> Tensor:
        return torch.ops.sjd2.commit(tokens, draft, accepted, ids, prompt, n_tokens, *held, level)

    def gate() -> dict[str, float]:
        mine, theirs = state(), state()
        results = [(ours(*mine), *mine), (call("reference", *theirs), *theirs)]
        wrong = sum(int((a != b).sum()) for a, b in zip(*results, strict=True))
        return within(float(wrong), 0.0, "commit: values that differ from the reference")

    buffers = copies(state(), 1 << 40)  # as many as there may be; small enough to stay in the cache all the same
    peers = {"eager (the reference)": lambda: Variant(lambda *held: call("reference", *held))}
    return Case(spec, buffers, Variant(ours), gate, peers)
