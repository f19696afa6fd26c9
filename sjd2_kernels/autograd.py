"""The one derivative: `noise_embed` with respect to its table. Every other operator is not differentiable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_CONSTANTS = {2: "mean", 3: "std", 4: "t"}


def _save(ctx: Any, inputs: Sequence[Any], needs_grad: Sequence[bool]) -> None:
    for index, name in _CONSTANTS.items():
        if needs_grad[index]:
            raise RuntimeError(f"noise_embed: {name} must not require grad (only table gets one), use {name}.detach()")
    table, token, _, _, t, _, _, *rest = inputs
    ctx.save_for_backward(token, t, rest[0] if rest else None)
    ctx.rows, ctx.dtype = table.shape[0], table.dtype


def _table_grad(ctx: Any, grad: Tensor) -> Tensor:
    """grad_table[v] = sum of (1 - t) * grad over the positions with token v, rounded once to the table's dtype."""
    token, t, done = ctx.saved_tensors
    wide = torch.float64 if ctx.dtype == torch.float64 else torch.float32
    counts = (token >= 0) & (token < ctx.rows)
    if done is not None:
        counts = counts & (done == 0)[:, None]
    # what does not count goes to one row more, the padding, which is dropped whatever its grad holds
    row = torch.where(counts, token, ctx.rows).flatten()
    share = ((1 - t.to(wide))[..., None] * grad.to(wide)).flatten(0, 1)
    # embedding's own backward: an index_add in a fixed order, where index_add_ itself is float atomics on CUDA and, on
    # two CPU cores with 8192 positions of 1024 channels, took 2.3 times as long
    table = torch.ops.aten.embedding_dense_backward(share, row, ctx.rows + 1, ctx.rows, False)
    return table[: ctx.rows].to(ctx.dtype)


def register(library: torch.library.Library) -> None:
    """Attach the derivative to ``torch.ops.sjd2.noise_embed``."""
    torch.library.register_autograd(
        "sjd2::noise_embed",
        lambda ctx, grad: (_table_grad(ctx, grad), *(None,) * 7),
        setup_context=lambda ctx, inputs, output: _save(ctx, inputs, ctx.needs_input_grad),
        lib=library,
    )


class _NoiseEmbed(torch.autograd.Function):
    """The same derivative for an implementation that is called by name, past the operator."""

    @staticmethod
    def forward(implementation: Callable[..., Tensor], *args: Any) -> Tensor:
        return implementation(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _save(ctx, inputs[1:], ctx.needs_input_grad[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, _table_grad(ctx, grad), *(None,) * 7


def differentiable(operator: str, implementation: Callable[..., Any]) -> Callable[..., Any]:
    """``implementation`` with the operator's derivative, or as it is for the operators that have none."""
    if operator != "noise_embed":
        return implementation
    return lambda *args: _NoiseEmbed.apply(implementation, *args)  # type: ignore[no-untyped-call]
