"""The CUDA kernels' algorithms on a team that one thread plays: the code of csrc/cuda, without a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sjd2_kernels import native
from sjd2_kernels.native import process_logits as logits
from sjd2_kernels.native import verify_accept as verify

FORWARD, BACKWARD, SCATTERED = range(3)  # the order in which the members of a team take their turns
ORDERS = (FORWARD, BACKWARD, SCATTERED)
HEAD_START = 32.0  # as csrc/cuda/process_logits.cu


def play_process_logits(
    case: dict[str, Tensor], ranks: int, threads: int, order: int, parked: bool = False, head_start: float = HEAD_START
) -> tuple[Tensor, ...]:
    """process_logits of ``case`` by a team of ``ranks`` blocks of ``threads`` each."""
    outputs = logits.outputs(case["cond"], torch.empty)
    numbers, _kept = logits.addressed(outputs, **case)
    native.module().team_process_logits(*numbers, ranks, threads, order, parked, head_start)
    return outputs


def play_verify_accept(case: dict[str, Any], ranks: int, threads: int, order: int) -> tuple[Tensor, ...]:
    """verify_accept of ``case`` by a team of ``ranks`` blocks of ``threads`` each."""
    outputs = verify.outputs(case["p"])
    numbers, _kept = verify.addressed(outputs, **case)
    native.module().team_verify_accept(*numbers, ranks, threads, order)
    return outputs
