"""noise_mix and noise_embed beside the same in eager PyTorch, torch.compile of it, and a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import sjd2_kernels

from .. import eager
from ..case import Case, Spec, within
from ..clock import Clock, Variant, copies
from ..grid import BATCHES, DTYPES, WINDOWS, product, star
from .sampling import compiled

MIX = {"B": 1, "L": 96, "C": 4096, "dtype": "float32"}
EMBED = {"B": 1, "N": 2304, "C": 4096, "dtype": "float32"}
IDS, T = 8192, 25


def specs(grid: str) -> list[Spec]:
    """Window, batch and dtype of the window's step; length and dtype of a training sequence."""
    if grid == "smoke":
        small = {"B": 2, "C": 32, "dtype": "float32"}
        return [Spec("noise", "noise_mix", small | {"L": 6}), Spec("noise", "noise_embed", small | {"N": 9})]
    axes: dict[str, Any] = {"L": WINDOWS, "B": BATCHES, "dtype": DTYPES}
    lengths: dict[str, Any] = {"N": (512, 2304), "dtype": DTYPES}
    pick = product if grid == "full" else star
    mixes, embeds = pick(MIX, axes), pick(EMBED, lengths)
    found = [Spec("noise", "noise_mix", point, point == MIX, point == MIX) for point in mixes]
    return found + [Spec("noise", "noise_embed", point, point == EMBED, point == EMBED) for point in embeds]


def build(spec: Spec, clock: Clock, device: str) -> Case:
    """Random tables, levels from clean to pure noise."""
    torch.manual_seed(0)
    return (_mix if spec.operator == "noise_mix" else _embed)(spec, clock, device)


def _table(C: int, dtype: str, device: str) -> tuple[Tensor, Tensor, Tensor]:
    table = torch.randn(IDS, C, device=device).to(getattr(torch, dtype))
    return table, table.float().mean(0), table.float().std(0)


def _peers(spec: Spec, call: Callable[..., Any]) -> dict[str, Callable[[], Variant]]:
    peers = {"eager": lambda: Variant(call)}
    if spec.compiled:
        peers["torch.compile"] = lambda: Variant(compiled(call))
    return peers


def error_of(name: str, ours: Tensor, exact: Tensor, single: Tensor) -> dict[str, float]:
    """At most twice the error of the reference in the same dtype, and a rounding of the largest value more."""
    found, theirs = ((x.double() - exact).abs().max() for x in (ours, single))
    return within(float(found), float(2 * theirs + torch.finfo(ours.dtype).eps * exact.abs().max()), name)


def _mix(spec: Spec, clock: Clock, device: str) -> Case:
    B, L, C = (spec.numbers[name] for name in "BLC")
    table, mean, std = _table(C, spec.numbers["dtype"], device)
    times = torch.linspace(0, 1, T + 1, device=device)
    state = torch.randn(B, L, C, device=device)
    level = torch.randint(0, T + 1, (B, L), dtype=torch.int32, device=device)
    tokens, fresh = (torch.randint(IDS, (B, L), device=device) for _ in range(2))
    shift = torch.full((B,), 3, dtype=torch.int32, device=device)
    seed = torch.arange(B, dtype=torch.int64, device=device)
    small = (level, tokens, fresh, shift, times)

    def ours(state: Tensor) -> Any:
        return torch.ops.sjd2.noise_mix(state, *small, table, mean, std, seed, seed)

    def gate() -> dict[str, float]:
        def by(state: Tensor, table: Tensor) -> Tensor:
            found = sjd2_kernels.noise_mix(state, *small, table, mean, std, seed, seed, backend="reference")
            return found[0]

        return error_of("noise_mix", ours(state)[0], by(state.double(), table.double()), by(state, table))

    def chain(state: Tensor) -> Any:
        return eager.noise_mix(state, *small, table, mean, std)

    return Case(spec, copies((state,), clock.cold_bytes), Variant(ours), gate, _peers(spec, chain))


def _embed(spec: Spec, clock: Clock, device: str) -> Case:
    B, N, C = (spec.numbers[name] for name in "BNC")
    table, mean, std = _table(C, spec.numbers["dtype"], device)
    token, t = torch.randint(IDS, (B, N), device=device), torch.rand(B, N, device=device)
    seed = torch.arange(B, dtype=torch.int64, device=device)

    def ours(table: Tensor, token: Tensor) -> Any:
        return torch.ops.sjd2.noise_embed(table, token, mean, std, t, seed, seed)

    def gate() -> dict[str, float]:
        def by(table: Tensor) -> Tensor:
            return sjd2_kernels.noise_embed(table, token, mean, std, t, seed, seed, backend="reference")

        return error_of("noise_embed", ours(table, token), by(table.double()), by(table))

    def chain(table: Tensor, token: Tensor) -> Any:
        return eager.noise_embed(table, token, mean, std, t)

    return Case(spec, copies((table, token), clock.cold_bytes), Variant(ours), gate, _peers(spec, chain))
