"""verify_accept in Triton.

Formula: slot j passes iff u q(d) < p(d); n = leading slots that pass; tokens[n] = argmin E / max(0, p - q) over the
ids, and beyond n by `redraw` (docs/operators.md).

Geometry: a race over the ids of a row is split in parts of PART ids, one program each; the draw kernel runs one row per
image, the first that fails, or under `couple` every row that fails, and each program repeats the short scan over the
drafts to know which. A second small kernel, one program per image, merges the parts and writes all outputs. `match`
needs the second only.

Bytes: 4 L numbers and 2 V probabilities per image (2 V per failed row under `couple`); scratch is 16 bytes a part.

Determinism: rung L3. One float32 rounding a step; parts merge in the order of their ids, ties to the lowest id.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..layout import dense, rows_last
from . import pieces
from .launch import Config, launch

PART = 2048
CONFIGS = (
    Config("8 ids a thread: few programs run at batch 1, so each must be short", 8, case="draw"),
    Config("a few hundred numbers", 4, case="merge"),
)


@triton.jit
def _judge(draft, p, q, seed, pos, fresh, epoch, verifiable, forced, i_b, o_l, p_b, p_l, q_b, q_l, L, V,
           MATCH: tl.constexpr):  # fmt: skip
    """Of each slot of o_l (int64): whether it passes, its ratio, and whether it has a draft that can be judged."""
    m_l = o_l < L
    b_draft = tl.load(draft + i_b * L + o_l, mask=m_l, other=-1)
    m_valid = (b_draft >= 0) & (b_draft < V)
    if verifiable is not None:
        m_valid = m_valid & (tl.load(verifiable + i_b * L + o_l, mask=m_l, other=0) != 0)
    if MATCH:
        m_passes = m_valid & (b_draft == tl.load(fresh + i_b * L + o_l, mask=m_l, other=-1))
        b_ratio = m_passes.to(tl.float32)
    else:
        b_p = tl.load(p + i_b * p_b + o_l * p_l + b_draft, mask=m_valid, other=0.0)
        b_q = tl.load(q + i_b * q_b + o_l * q_l + b_draft, mask=m_valid, other=0.0)
        b_group = (o_l * 0).to(tl.uint32)
        i_epoch = tl.zeros([], tl.int64)
        if epoch is not None:
            i_epoch = tl.load(epoch + i_b)
        i_seed, o_pos = tl.load(seed + i_b), tl.load(pos + i_b) + o_l
        b_word, _, _, _ = pieces.groups(i_seed, o_pos, pieces.STREAM_ACCEPT, i_epoch, b_group)
        m_possible = b_q > 0.0
        # p >= q is implied by u < 1 but for the rounding of u * q among denormals
        m_passes = m_possible & ((b_p >= b_q) | (pieces.uniform(b_word) * b_q < b_p))
        b_ratio = tl.div_rn(b_p, tl.where(m_possible, b_q, 1.0))
        b_ratio = tl.where(m_possible & (b_ratio > 0.0), tl.minimum(b_ratio, 1.0), 0.0)
    if forced is not None:
        m_forced = tl.load(forced + i_b * L + o_l, mask=m_l, other=-1) >= 0
        m_passes = m_passes | m_forced
        b_ratio = tl.where(m_forced, 1.0, b_ratio)
    return m_passes, b_ratio, m_valid


@triton.jit
def verify_accept_draw_kernel(
    draft, p, q, seed, pos, fresh, epoch, verifiable, forced, done, times, ids, p_b, p_l, q_b, q_l, L, V, parts,
    SLOTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Races of p - q and of p over one part of a failed row: the first failed one of SLOTS slots from program_id(1)
    on."""
    i_b, i_j, i_part = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64), tl.program_id(2)
    active = tl.full([], 1, tl.int32)
    if done is not None:
        active = (tl.load(done + i_b) == 0).to(tl.int32)

    if active != 0:
        o_l = i_j + tl.arange(0, SLOTS)
        m_passes, _, m_valid = _judge(
            draft, p, q, seed, pos, fresh, epoch, verifiable, forced, i_b, o_l, p_b, p_l, q_b, q_l, L, V, False
        )
        i_slot = tl.min(tl.where(m_passes, L, o_l))
        needed = (i_slot < L).to(tl.int32)
        if fresh is not None:  # where there was nothing to judge, fresh takes the place
            needed = tl.max(((o_l == i_slot) & m_valid).to(tl.int32))

        if needed != 0:
            start = i_part * PART
            o_v = start + tl.arange(0, PART)
            b_p = tl.load(p + i_b * p_b + i_slot * p_l + o_v, mask=o_v < V, other=0.0)
            b_q = tl.load(q + i_b * q_b + i_slot * q_l + o_v, mask=o_v < V, other=0.0)
            i_epoch = tl.zeros([], tl.int64)
            if epoch is not None:
                i_epoch = tl.load(epoch + i_b)
            i_seed, i_pos = tl.load(seed + i_b), tl.load(pos + i_b) + i_slot
            b_u = pieces.uniform(pieces.words(i_seed, i_pos, pieces.STREAM_RESIDUAL, i_epoch, start, PART))
            residual_time, i_residual = pieces.winner(pieces.race_time(b_u, b_p - b_q), o_v)
            p_time, i_p = pieces.winner(pieces.race_time(b_u, b_p), o_v)
            i_out = ((i_b * tl.num_programs(1) + i_j) * parts + i_part) * 2
            tl.store(times + i_out, residual_time)
            tl.store(times + i_out + 1, p_time)
            tl.store(ids + i_out, i_residual)
            tl.store(ids + i_out + 1, i_p)


@triton.jit
def _merged(times, ids, o_first, m_l, parts, EACH: tl.constexpr):
    """Winners over the parts of rows whose first entry is at ``o_first``: the residual's, or the law's if that is
    empty; 0 if both are."""
    b_time1 = tl.where(m_l, float("inf"), float("inf"))
    b_id1 = (o_first * 0).to(tl.int32)
    b_time2, b_id2 = b_time1, b_id1
    for start in range(0, parts, EACH):
        for k in tl.static_range(EACH):  # so many loads are in flight at once
            o_part = o_first + (start + k) * 2
            m_part = m_l & (o_part < o_first + parts * 2)
            b_time = tl.load(times + o_part, mask=m_part, other=float("inf"))
            b_id = tl.load(ids + o_part, mask=m_part, other=0)
            b_id1 = tl.where(b_time < b_time1, b_id, b_id1)
            b_time1 = tl.minimum(b_time1, b_time)
            b_time = tl.load(times + o_part + 1, mask=m_part, other=float("inf"))
            b_id = tl.load(ids + o_part + 1, mask=m_part, other=0)
            b_id2 = tl.where(b_time < b_time2, b_id, b_id2)
            b_time2 = tl.minimum(b_time2, b_time)
    return b_time1, b_id1, b_id2


@triton.jit
def verify_accept_merge_kernel(
    draft, p, q, seed, pos, fresh, epoch, verifiable, forced, done, times, ids, accept_len, tokens, ratio,
    p_b, p_l, q_b, q_l, L, V, parts, MATCH: tl.constexpr, REDRAW: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """All outputs of one image."""
    i_b = tl.program_id(0).to(tl.int64)
    o_l = tl.arange(0, SLOTS).to(tl.int64)
    m_l = o_l < L
    m_passes, b_ratio, m_valid = _judge(
        draft, p, q, seed, pos, fresh, epoch, verifiable, forced, i_b, o_l, p_b, p_l, q_b, q_l, L, V, MATCH
    )
    n = tl.min(tl.where(m_passes, L, o_l))
    b_draft = tl.load(draft + i_b * L + o_l, mask=m_l, other=-1)
    b_fresh = o_l * 0 - 1
    if fresh is not None:
        b_fresh = tl.load(fresh + i_b * L + o_l, mask=m_l, other=-1)

    if MATCH:
        b_replacement = b_fresh
    else:
        if REDRAW == "couple":
            m_drawn = m_l & (m_passes == 0)
            o_first = (i_b * L + o_l) * parts * 2
        else:
            m_drawn = o_l == n
            o_first = (i_b + o_l * 0) * parts * 2
        if fresh is not None:
            m_drawn = m_drawn & m_valid
        b_time, b_residual, b_law = _merged(times, ids, o_first, m_drawn, parts, 4)
        b_replacement = tl.where(m_valid & (b_time < float("inf")), b_residual, b_law).to(tl.int64)
        if fresh is not None:
            b_replacement = tl.where(m_valid, b_replacement, b_fresh)

    b_rest = b_fresh
    if REDRAW == "couple":
        b_rest = tl.where(m_passes, b_draft, b_replacement)
    elif REDRAW == "keep":
        b_rest = tl.where(b_ratio >= 0.5, b_draft, b_fresh)
    b_token = tl.where(o_l < n, b_draft, tl.where(o_l == n, b_replacement, b_rest))
    if forced is not None:
        b_forced = tl.load(forced + i_b * L + o_l, mask=m_l, other=-1)
        b_token = tl.where(b_forced >= 0, b_forced, b_token)
    if done is not None:
        skip = tl.load(done + i_b) != 0
        n = tl.where(skip, 0, n)
        b_token = tl.where(skip, -1, b_token)
        b_ratio = tl.where(skip, 0.0, b_ratio)
    tl.store(accept_len + i_b, n.to(tl.int32))
    tl.store(tokens + i_b * L + o_l, b_token, mask=m_l)
    tl.store(ratio + i_b * L + o_l, b_ratio, mask=m_l)


def verify_accept(
    draft: Tensor,
    p: Tensor,
    q: Tensor,
    seed: Tensor,
    pos: Tensor,
    fresh: Tensor | None = None,
    epoch: Tensor | None = None,
    verifiable: Tensor | None = None,
    forced: Tensor | None = None,
    done: Tensor | None = None,
    *,
    accept: str = "ratio",
    redraw: str = "fresh",
) -> tuple[Tensor, Tensor, Tensor]:
    """See docs/operators.md, section verify_accept."""
    B, L, V = p.shape
    accept_len = torch.zeros(B, dtype=torch.int32, device=p.device)
    tokens = torch.empty(B, L, dtype=torch.int64, device=p.device)
    ratio = torch.empty(B, L, dtype=torch.float32, device=p.device)
    if B * L == 0:
        return accept_len, tokens, ratio
    p, q = rows_last(p), rows_last(q)
    bits = None if verifiable is None else verifiable.contiguous().view(torch.int8)
    small = [*map(dense, (seed, pos, fresh, epoch)), bits, *map(dense, (forced, done))]
    inputs = (draft.contiguous(), p, q, *small)
    parts, rows = triton.cdiv(V, PART), L if redraw == "couple" else 1
    times = torch.empty(B, rows, parts, 2, dtype=torch.float32, device=p.device)
    ids = torch.empty(B, rows, parts, 2, dtype=torch.int32, device=p.device)
    sizes = (*p.stride()[:2], *q.stride()[:2], L, V, parts)
    slots = triton.next_power_of_2(L)

    def draw(config: Config) -> None:
        verify_accept_draw_kernel[(B, rows, parts)](
            *inputs, times, ids, *sizes, SLOTS=slots if rows == 1 else 1, PART=PART,
            **config.options(), enable_fp_fusion=False,
        )  # fmt: skip

    def merge(config: Config) -> None:
        verify_accept_merge_kernel[(B,)](
            *inputs, times, ids, accept_len, tokens, ratio, *sizes, MATCH=accept == "match", REDRAW=redraw, SLOTS=slots,
            **config.options(), enable_fp_fusion=False,
        )  # fmt: skip

    if accept != "match":
        launch("verify_accept", CONFIGS, p, draw, case="draw", shape=(V, B * rows))
    launch("verify_accept", CONFIGS, p, merge, case="merge", shape=(L, parts))
    return accept_len, tokens, ratio
