"""commit on the CPU: csrc/cpu/commit.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import dense
from . import address, module


def _in_place(tensor: Tensor) -> tuple[int, int, int]:
    """Address and the strides of a 1-d or 2-d tensor that is written where it lies."""
    return tensor.data_ptr(), tensor.stride(0), tensor.stride(1) if tensor.dim() > 1 else 0


def commit(
    tokens: Tensor,
    draft: Tensor,
    accept_len: Tensor,
    ids: Tensor,
    prompt_len: Tensor,
    n_tokens: Tensor,
    out: Tensor,
    pos: Tensor,
    kv_len: Tensor,
    q_start: Tensor,
    refeed: Tensor,
    epoch: Tensor,
    done: Tensor,
    level: Tensor | None = None,
) -> Tensor:
    """See docs/operators.md, section commit."""
    B, L = tokens.shape
    inputs = [dense(x) for x in (tokens, draft, accept_len, ids, prompt_len, n_tokens, level)]
    state = (out, pos, kv_len, q_start, refeed, epoch, done)
    n_commit = torch.empty(B, dtype=torch.int32)
    module().commit(
        *map(address, inputs), *map(_in_place, state), address(n_commit),
        B, L, prompt_len.shape[0], ids.shape[0], out.shape[1], refeed.shape[1],
    )  # fmt: skip
    return n_commit
