"""The one derivative: `noise_embed` with respect to its table. Every other operator is not differentiable.

It is an operator too, ``sjd2::noise_embed_backward``, so that a backend can bring its own kernel and torch.compile need
not look inside; it is linear in grad, and its derivative gathers the rows again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import backends
from .reference.table_rows import table_rows

BACKWARD = "noise_embed_backward"
_SCHEMA = "(Tensor grad, Tensor token, Tensor t, Tensor? done, SymInt V, ScalarType dtype) -> Tensor"
_CONSTANTS = {2: "mean", 3: "std", 4: "t"}


def _save(ctx: Any, inputs: Sequence[Any], needs_grad: Sequence[bool]) -> None:
    for index, name in _CONSTANTS.items():
        if needs_grad[index]:
            raise RuntimeError(f"noise_embed: {name} must not require grad (only table gets one), use {name}.detach()")
    table, token, _, _, t, _, _, *rest = inputs
    ctx.save_for_backward(token, t, rest[0] if rest else None)
    ctx.rows, ctx.dtype = table.shape[0], table.dtype


def _rows_grad(ctx: Any, grad_table: Tensor) -> Tensor:
    """The derivative of the derivative in grad: (1 - t) * grad_table[token], zeros where a position does not count."""
    token, t, done = ctx.saved_tensors
    wide = torch.float64 if grad_table.dtype == torch.float64 else torch.float32
    rows = (1 - t.to(wide))[..., None] * table_rows(grad_table, token, wide)
    if done is not None:
        rows = torch.where((done != 0)[:, None, None], 0.0, rows)
    return rows.to(ctx.dtype)


def _save_rows(ctx: Any, inputs: Sequence[Any]) -> None:
    grad, token, t, done, *_ = inputs
    ctx.save_for_backward(token, t, done)
    ctx.dtype = grad.dtype


def _kernel(device: str) -> Callable[..., Tensor]:
    return lambda *args: backends.select(BACKWARD, device)(*args)


def register(library: torch.library.Library) -> None:
    """Attach the derivative to ``torch.ops.sjd2.noise_embed``."""
    library.define(BACKWARD + _SCHEMA, tags=(torch.Tag.pt2_compliant_tag,))
    library.impl(BACKWARD, _kernel("cpu"), "CPU")
    library.impl(BACKWARD, _kernel("cuda"), "CUDA")
    torch.library.register_fake(
        f"sjd2::{BACKWARD}",
        lambda grad, token, t, done, V, dtype: grad.new_empty((V, grad.shape[2]), dtype=dtype),
        lib=library,
    )
    torch.library.register_autograd(
        f"sjd2::{BACKWARD}",
        lambda ctx, grad: (_rows_grad(ctx, grad), *(None,) * 5),
        setup_context=lambda ctx, inputs, output: _save_rows(ctx, inputs),
        lib=library,
    )
    torch.library.register_autograd(
        "sjd2::noise_embed",
        lambda ctx, grad: (torch.ops.sjd2.noise_embed_backward(*_arguments(ctx, grad)), *(None,) * 7),
        setup_context=lambda ctx, inputs, output: _save(ctx, inputs, ctx.needs_input_grad),
        lib=library,
    )


def _arguments(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """The arguments of the backward operator."""
    return grad, *ctx.saved_tensors, ctx.rows, ctx.dtype


class _NoiseEmbed(torch.autograd.Function):
    """The same derivative for a backend that is called by name, past the operator."""

    @staticmethod
    def forward(implementation: Callable[..., Tensor], backward: Callable[..., Tensor], *args: Any) -> Tensor:
        return implementation(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _save(ctx, inputs[2:], ctx.needs_input_grad[2:])
        ctx.implementation = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        table = _NoiseEmbedBackward.apply(ctx.implementation, *_arguments(ctx, grad))  # type: ignore[no-untyped-call]
        return None, None, table, *(None,) * 7


class _NoiseEmbedBackward(torch.autograd.Function):
    @staticmethod
    def forward(implementation: Callable[..., Tensor], *args: Any) -> Tensor:
        return implementation(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _save_rows(ctx, inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, _rows_grad(ctx, grad), *(None,) * 5


def differentiable(operator: str, device: str, backend: str) -> Callable[..., Any]:
    """The implementation that ``backend`` has of an operator, with the operator's derivative if it has one."""
    implementation = backends.select(operator, device, backend)
    if operator != "noise_embed":
        return implementation
    backward = backends.select(BACKWARD, device, backend)
    return lambda *args: _NoiseEmbed.apply(implementation, backward, *args)  # type: ignore[no-untyped-call]
