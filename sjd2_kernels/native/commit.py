"""commit on the CPU: csrc/cpu/commit.cpp."""

from __future__ import annotations

from torch import Tensor

from ..layout import dense
from . import call


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
    inputs = map(dense, (tokens, draft, accept_len, ids, prompt_len, n_tokens))
    state = (out, pos, kv_len, q_start, refeed, epoch, done)  # written where it lies
    result: Tensor = call("commit", *inputs, *state, dense(level))
    return result
