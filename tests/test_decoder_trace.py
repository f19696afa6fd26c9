"""B5: the decoder token by token against one in plain Python lists, guidance, truncation and grid on: the right sample
is committed, in its own iteration, and every chunk has the right length."""

from __future__ import annotations

from typing import Any

import _oracle as oracle
import numpy as np
import pytest
from sjd2.decoder import Decoder, Sampling
from sjd2.policies import Policy, get_policy
from table_backbone import KINDS, Table

TABLE = Table(V=5, width=2, height=3, seed=4)
FORCED = TABLE.grid().forced.tolist()
N = len(FORCED)
NUMBERS: dict[str, Any] = {"guidance": 1.3, "temperature": 0.9, "top_k": 4, "top_p": 0.95}
SEEDS = [s * 2654435761 - 2**40 for s in range(24)]


def law(kind: str, line: list[int], seed: int, epoch: int) -> tuple[np.ndarray, int]:
    """What follows ``line`` (local ids, forced ones included): p and the draw."""
    if len(line) >= N:
        return np.full(5, np.float32(0.2)), 0
    if FORCED[len(line)] >= 0:
        return np.zeros(5, np.float32), FORCED[len(line)]
    codes = [token for token, must in zip(line, FORCED, strict=False) if must < 0]
    row = sum(code * 5**i for i, code in enumerate(reversed(codes)))
    cond, uncond = (TABLE.laws[len(codes)][k, row].log().numpy() for k in (KINDS.index(kind), -1))
    p, draw, status = oracle.process_row(cond, uncond, **NUMBERS, seed=seed, pos=len(line), epoch=epoch)
    assert status == 0
    return p, draw


def decode(policy: Policy, kind: str, seed: int, L: int) -> tuple[list[int], list[int]]:
    """Local ids of a picture, and the tokens committed in each step."""

    def new(position: int) -> int:
        if position >= N or policy.initial == "none":
            return -1
        if FORCED[position] >= 0:
            return FORCED[position]
        return oracle.word(seed, position, oracle.INITIAL, 0, 0) * 5 >> 32

    flat = np.full(5, np.float32(1 / 5))
    line: list[int] = []
    draft, q, chunks = [new(j) for j in range(L)], [flat] * L, []
    while len(line) < N:
        pos, step = len(line), len(chunks)
        rows = [law(kind, line + draft[:j], seed, step * (policy.draft_epoch == "iteration")) for j in range(L)]
        p, fresh = [row[0] for row in rows], [row[1] for row in rows]
        n, out, _ = oracle.verify_image(
            draft, np.stack(p), np.stack(q if policy.judged else p), seed, pos, fresh,
            step * (policy.verify_epoch == "iteration"), forced=(FORCED + [-1] * L)[pos : pos + L],
            accept=policy.accept, redraw=policy.redraw,
        )  # fmt: skip
        n = min(n + 1, L, N - pos)
        line += out[:n]
        chunks.append(n)
        draft = [out[j] if pos + j < N else -1 for j in range(n, L)] + [new(pos + L + j) for j in range(n)]
        q = p[n:] + [flat] * n
    return line, chunks


@pytest.mark.parametrize("L", [1, 2, 3, 5, N + 1])
@pytest.mark.parametrize("policy", ["ar", "jacobi", "match", "sjd", "gumbel", "coupled", "sjd++"])
def test_trace(policy: str, L: int) -> None:
    """24 pictures of two prompts in one batch; rejections fall on the first, middle and last slot, and pictures end
    inside a window."""
    chosen = get_policy(policy)
    kinds = [KINDS[i % 2] for i in range(len(SEEDS))]
    made = Decoder(
        TABLE, chosen, TABLE.encode(kinds), [TABLE.grid()] * len(SEEDS), SEEDS, L=L, sampling=Sampling(**NUMBERS)
    )
    made.run()
    w = made.window
    places = set()
    for b, (kind, seed) in enumerate(zip(kinds, SEEDS, strict=True)):
        line, chunks = decode(chosen, kind, seed, made.L)
        assert w.out[b].tolist() == line
        assert w.accepted[b, : int(w.epoch[b])].tolist() == chunks
        places |= set(chunks)
    if L == 5 and policy != "ar":
        assert {1, 2, 5} <= places
