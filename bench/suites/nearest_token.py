"""nearest_token beside a matrix product and argmax, and torch.compile of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import eager
from ..case import Case, Spec, within
from ..clock import Clock, Variant, copies
from ..grid import BATCHES, WINDOWS, product, star
from .sampling import compiled

BASE = {"B": 1, "L": 96, "V": 8192, "C": 4096, "dtype": "float32"}


def specs(grid: str) -> list[Spec]:
    """Window and vocabulary."""
    if grid == "smoke":
        return [Spec("nearest_token", "nearest_token", BASE | {"L": 3, "V": 50, "C": 32})]
    if grid == "full":
        axes: dict[str, Any] = {"L": (1, *WINDOWS), "V": (8192, 32_768), "B": BATCHES, "dtype": ("float32", "bfloat16")}
        points = product(BASE, axes)
    else:
        points = star(BASE, {"L": (1, 16, 96), "V": (8192, 16_384), "dtype": ("float32", "bfloat16")})
    return [Spec("nearest_token", "nearest_token", point, point == BASE, point == BASE) for point in points]


def build(spec: Spec, clock: Clock, device: str) -> Case:
    """Random unit rows."""
    n = spec.numbers
    torch.manual_seed(0)
    table = torch.nn.functional.normalize(torch.randn(n["V"], n["C"], device=device), dim=1)
    table, bias = table.to(getattr(torch, n["dtype"])), 0.01 * torch.randn(n["V"], device=device)
    state = torch.randn(n["B"], n["L"], n["C"], device=device)

    def ours(state: Tensor, table: Tensor) -> Tensor:
        return torch.ops.sjd2.nearest_token(state, table, bias)

    def chain(state: Tensor, table: Tensor) -> Tensor:
        return eager.nearest_token(state, table, bias)

    def gate() -> dict[str, float]:
        """How far the chosen tokens' scores are under the best, at most twice what the eager choice loses."""
        found = allowed = 0.0
        for image, mine, theirs in zip(state, ours(state, table), chain(state, table), strict=True):
            scores = image.double() @ table.double().T + bias.double()
            best = scores.amax(-1)
            lost = [float((best - scores.gather(-1, x[:, None])[:, 0]).max()) for x in (mine, theirs)]
            found, allowed = max(found, lost[0]), max(allowed, 2 * lost[1] + 1e-6 * float(best.abs().max()))
        return within(found, allowed, "nearest_token")

    peers = {"eager": lambda: Variant(chain)}
    if spec.compiled:
        peers["torch.compile"] = lambda: Variant(compiled(chain))
    return Case(spec, copies((state, table), clock.cold_bytes), Variant(ours), gate, peers)
