"""The CUDA backend on a team that one thread plays: the algorithms of csrc/cuda and its Python side, without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

from torch import Tensor

from sjd2_kernels import cuda, native
from sjd2_kernels.cuda import process_logits as logits
from sjd2_kernels.cuda import verify_accept as verify

FORWARD, BACKWARD, SCATTERED = range(3)  # the order in which the members of a team take their turns
ORDERS = (FORWARD, BACKWARD, SCATTERED)
HEAD_START = 32.0  # as csrc/cuda/process_logits.cu


def _play(function: Callable[..., Any], case: dict[str, Any], *team: object) -> tuple[Tensor, ...]:
    """``function`` of the CUDA backend with ``team`` in place of a device and a stream."""
    name = function.__name__
    compiled = SimpleNamespace(**{name: getattr(native.module(), f"team_{name}")})
    with mock.patch.multiple(cuda, module=lambda: compiled, place=lambda anchor: team):
        outputs: tuple[Tensor, ...] = function(**case)
    return outputs


def play_process_logits(
    case: dict[str, Tensor], ranks: int, threads: int, order: int, parked: bool = False, head_start: float = HEAD_START
) -> tuple[Tensor, ...]:
    """process_logits of ``case`` by a team of ``ranks`` blocks of ``threads`` each."""
    return _play(logits.process_logits, case, ranks, threads, order, parked, head_start)


def play_verify_accept(case: dict[str, Any], ranks: int, threads: int, order: int) -> tuple[Tensor, ...]:
    """verify_accept of ``case`` by a team of ``ranks`` blocks of ``threads`` each."""
    return _play(verify.verify_accept, case, ranks, threads, order)
