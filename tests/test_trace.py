"""B5: decodings token by token against a decoder in plain Python lists: the right sample is committed, in its own
iteration."""

from __future__ import annotations

import _oracle as oracle
import numpy as np
import pytest
import torch
from _chains import POLICIES, Decoder, Model, Policy
from _live import on_backends

MODEL = Model.random(3, 6, 5)


def decode(model: Model, policy: Policy, window: int, seed: int) -> tuple[list[int], int]:
    """One image: its tokens, and the number of iterations."""
    K, N, logits = model.K, model.N, model.logits.numpy()

    def prefix(tokens: list[int]) -> int:
        node = 0
        for token in tokens:
            node = node * K + max(token, 0) + 1
        return node if node < len(logits) else 0

    def initial(position: int) -> int:
        return oracle.word(seed, position, oracle.INITIAL, 0, 0) % K if policy.speculate else -1

    flat = np.full(K, np.float32(1 / K))
    tokens: list[int] = []
    draft, q = [initial(j) for j in range(window)], [flat] * window
    iteration = 0
    while len(tokens) < N:
        pos, epoch = len(tokens), iteration if policy.draft_epoch else 0
        rows = [
            oracle.process_row(logits[prefix(tokens + draft[:j])], seed=seed, pos=pos + j, epoch=epoch)
            for j in range(window)
        ]
        p, fresh = [row[0] for row in rows], [row[1] for row in rows]
        n, out, _ = oracle.verify_image(
            draft, np.stack(p), np.stack(q), seed, pos, fresh, iteration if policy.verify_epoch else 0,
            accept=policy.accept, redraw=policy.redraw,
        )  # fmt: skip
        n = min(n + 1, window, N - pos)
        tokens += out[:n]
        draft = out[n:] if policy.speculate else [-1] * (window - n)
        draft += [initial(pos + window + j) for j in range(n)]
        q = p[n:] + [flat] * n
        iteration += 1
    return tokens, iteration


@on_backends("process_logits", "verify_accept")
@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("policy", POLICIES)
def test_trace(backend: str, policy: str, window: int) -> None:
    """25 images with odd seeds; rejections fall on the first, middle and last slot, and pictures end inside a
    window."""
    seeds = [s * 2654435761 - 2**40 for s in range(25)]
    want = [decode(MODEL, POLICIES[policy], window, seed) for seed in seeds]
    out, steps = Decoder(MODEL, POLICIES[policy], window, backend)(torch.tensor(seeds))
    assert out.tolist() == [tokens for tokens, _ in want]
    assert steps == max(steps for _, steps in want)
