"""nearest_token in Triton: token[slot] = argmax over v of state[slot] . table[v] + bias[v]; ties to the lowest id.

Three kernels. Pack: one program per slot and BC channels. Slots that need no scores (a draft is there, the image is
done) get their token; the others are copied side by side in the order of the slots, a float32 as the sum of three
bfloat16 where the table is bfloat16, which is exact and makes the product one of the matrix units. Score: one program
per BV ids and BM packed slots, a matrix product over the channels with bias and argmax folded in; the scores die in
registers. Pick: one program per packed slot, the best of the blocks.

Bytes: the table once per BM slots that need scores (as a rule one tile), read from memory; the packed slots once per
BV ids, from the second-level cache. Determinism: channels in ascending order for every slot whatever stands beside it,
maxima and lowest ids in any order: rung L2. A table row with an infinite element scores NaN, and NaN never wins.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..layout import dense, rows_last
from ..reference.nearest_token import nearest_token as reference
from .launch import Config, launch
from .narrow import matrix_type

NONE = tl.constexpr(2**31 - 1)  # no id

_WIDE = "the ids make two waves of programs: wide blocks, for the packed slots are read once per block"
_NARROW = "few ids: narrow blocks, so that every multiprocessor gets one"
_FLOAT32 = "three products of half the rate per product of float32: small tiles, for the registers"
_ODD = "channels that are no multiple of 16 come one at a time, through registers: no copies ahead"
CONFIGS = (
    Config(_WIDE, 8, 3, {"BM": 64, "BV": 128, "BK": 64}, "bfloat16, wide"),
    Config(_NARROW, 4, 4, {"BM": 64, "BV": 64, "BK": 64}, "bfloat16, narrow"),
    Config(_FLOAT32, 4, 2, {"BM": 64, "BV": 64, "BK": 32}, "float32"),
    Config(_ODD, 8, 1, {"BM": 64, "BV": 64, "BK": 32}, "odd"),
)
PACK = Config("bound by memory", 4, 1, {"BC": 1024})
PICK = Config("a few hundred numbers per slot", 1, 1, {"BB": 256})


def _case(table: Tensor) -> str:
    """Which entries of CONFIGS a call is for."""
    if table.shape[1] % 16:
        return "odd"
    if table.dtype != torch.bfloat16:
        return "float32"
    return "bfloat16, wide" if table.shape[0] > 16384 else "bfloat16, narrow"


@triton.jit
def _needs(draft, done, o, m, L):
    """Which slots o need scores, among those that m admits."""
    if draft is not None:
        m = m & (tl.load(draft + o, mask=m, other=0) < 0)
    if done is not None:
        m = m & (tl.load(done + o // L, mask=m, other=1) == 0)
    return m


@triton.jit
def _upper(b_x):
    """The part of a float32 that bfloat16 holds, rounded toward zero; infinity and NaN as they are."""
    b_cut = (b_x.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)
    return tl.where(b_x == b_x, b_cut, b_x)


@triton.jit
def nearest_token_pack_kernel(
    state, draft, done, token, packed, slots, count, s_image, s_slot, L, C, total, padded, blocks,
    TERMS: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """BC channels of one slot to its place among those that need scores, or its token if it needs none."""
    i = tl.program_id(0)
    i_c, i_n = i % blocks, i // blocks
    before, needs = i_n * 0, i_n * 0  # slots before it that need scores; whether it does
    for j in range(0, i_n + 1, BC):
        o = j + tl.arange(0, BC)
        m = _needs(draft, done, o, o <= i_n, L)
        before += tl.sum((m & (o < i_n)).to(tl.int32), 0)
        needs += tl.sum((m & (o == i_n)).to(tl.int32), 0)
    if (i_c == 0) & (i_n == total - 1):
        tl.store(count, before + needs)
    if needs == 0:
        if i_c == 0:
            b_token = tl.full((), -1, tl.int64)
            if draft is not None:
                b_token = tl.load(draft + i_n)
            if done is not None:
                b_token = tl.where(tl.load(done + i_n // L) != 0, -1, b_token)
            tl.store(token + i_n, b_token)
        return

    if i_c == 0:
        tl.store(slots + before, i_n)
    o_c = i_c * BC + tl.arange(0, BC)
    i_b, i_j = (i_n // L).to(tl.int64), (i_n % L).to(tl.int64)
    b_x = tl.load(state + i_b * s_image + i_j * s_slot + o_c, mask=o_c < C, other=0.0)
    p = packed + before.to(tl.int64) * C + o_c
    for _ in tl.static_range(TERMS - 1):
        b_upper = _upper(b_x)
        tl.store(p, b_upper.to(packed.dtype.element_ty), mask=o_c < C)
        b_x = tl.where(tl.abs(b_x) < float("inf"), b_x - b_upper, 0.0)
        p += padded.to(tl.int64) * C
    tl.store(p, b_x.to(packed.dtype.element_ty), mask=o_c < C)


@triton.jit
def _tile(p, m, DOT: tl.constexpr):
    """A tile of a matrix, zeros where m (if there is one) ends it."""
    b = tl.load(p) if m is None else tl.load(p, mask=m, other=0.0)
    return b.to(DOT)


@triton.jit
def nearest_token_score_kernel(
    packed, count, table, bias, best, winner, s_table, C, V, padded, tiles, blocks,
    TERMS: tl.constexpr, DOT: tl.constexpr, EVEN: tl.constexpr, WIDE: tl.constexpr,
    BM: tl.constexpr, BV: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """The best of BV ids for BM packed slots."""
    i = tl.program_id(0)
    i_m, i_v = i % tiles, i // tiles
    if i_m * BM >= tl.load(count):
        return
    o_m, o_k = tl.arange(0, BM), tl.arange(0, BK)
    first = i_v * BV
    # ids behind the last read its row, and are not counted below
    o_row = tl.minimum(tl.arange(0, BV), V - 1 - first)
    if WIDE:
        o_m, o_row = o_m.to(tl.int64), o_row.to(tl.int64)
    p_x = packed + (i_m * BM).to(tl.int64) * C + (o_m[:, None] * C + o_k[None, :])
    p_t = table + first.to(tl.int64) * s_table + (o_row[:, None] * s_table + o_k[None, :])
    term = padded.to(tl.int64) * C

    b_s = tl.zeros([BM, BV], tl.float32)
    for k in range(0, C, BK):
        m_k = None if EVEN else (k + o_k < C)[None, :]
        b_t = _tile(p_t, m_k, DOT)  # [BV, BK]
        for n in tl.static_range(TERMS):
            b_x = _tile(p_x + n * term, m_k, DOT)  # [BM, BK]
            b_s = tl.dot(b_x, tl.trans(b_t), b_s, input_precision="tf32x3")
        p_x += BK
        p_t += BK

    o_v = first + tl.arange(0, BV)
    m_v = o_v < V
    b_s += tl.load(bias + o_v, mask=m_v, other=0.0)[None, :]
    m_s = m_v[None, :] & (b_s == b_s)
    b_best = tl.max(tl.where(m_s, b_s, float("-inf")), 1)  # [BM]
    b_id = tl.min(tl.where(m_s & (b_s == b_best[:, None]), o_v[None, :], NONE), 1)
    p = (i_m * BM + o_m).to(tl.int64) * blocks + i_v
    tl.store(best + p, b_best)
    tl.store(winner + p, b_id)


@triton.jit
def nearest_token_pick_kernel(best, winner, slots, count, token, blocks, BB: tl.constexpr):
    """The best of all blocks for one packed slot; id 0 where no score is a number."""
    i_m = tl.program_id(0).to(tl.int64)
    if i_m >= tl.load(count):
        return
    b_best, b_id = tl.full([BB], float("-inf"), tl.float32), tl.full([BB], NONE, tl.int32)
    for j in range(0, blocks, BB):
        o = j + tl.arange(0, BB)
        b_new = tl.load(best + i_m * blocks + o, mask=o < blocks, other=float("-inf"))
        b_new_id = tl.load(winner + i_m * blocks + o, mask=o < blocks, other=NONE)
        # ids of a lane rise: an equal score comes too late, unless what the lane holds is no number
        wins = (b_new > b_best) | ((b_new == b_best) & (b_new_id < b_id))
        b_best, b_id = tl.where(wins, b_new, b_best), tl.where(wins, b_new_id, b_id)
    top = tl.max(b_best, 0)
    chosen = tl.min(tl.where(b_best == top, b_id, NONE), 0)
    tl.store(token + tl.load(slots + i_m), tl.where(chosen == NONE, 0, chosen).to(tl.int64))


def nearest_token(
    state: Tensor, table: Tensor, bias: Tensor, draft: Tensor | None = None, done: Tensor | None = None
) -> Tensor:
    """``sjd2::nearest_token``; float64, no slots and no channels go to the reference."""
    (B, L, C), V = state.shape, table.shape[0]
    if torch.float64 in (state.dtype, table.dtype) or B * L * C == 0:
        return reference(state, table, bias, draft, done)
    state, table, bias = rows_last(state), rows_last(table), bias.to(torch.float32).contiguous()
    draft, done = dense(draft), dense(done)
    token = state.new_empty((B, L), dtype=torch.int64)
    # a float32 is the sum of three bfloat16; other tables are multiplied in float32
    terms, kind = (3, torch.bfloat16) if table.dtype == torch.bfloat16 else (1, torch.float32)

    def run(config: Config) -> None:
        BM, BV, BK = config.blocks.values()
        tiles, blocks, parts = triton.cdiv(B * L, BM), triton.cdiv(V, BV), triton.cdiv(C, PACK.blocks["BC"])
        packed = state.new_empty((terms, tiles * BM, C), dtype=kind)
        slots, count = (state.new_empty(n, dtype=torch.int32) for n in (B * L, 1))
        best = state.new_empty((tiles * BM, blocks))
        winner = best.new_empty(best.shape, dtype=torch.int32)
        nearest_token_pack_kernel[(B * L * parts,)](
            state, draft, done, token, packed, slots, count, *state.stride()[:2], L, C, B * L, tiles * BM, parts,
            TERMS=terms, **PACK.options(), enable_fp_fusion=False,
        )  # fmt: skip
        nearest_token_score_kernel[(tiles * blocks,)](
            packed, count, table, bias, best, winner, table.stride(0), C, V, tiles * BM, tiles, blocks,
            TERMS=terms, DOT=matrix_type(kind), EVEN=C % BK == 0,
            WIDE=max(BV * table.stride(0), BM * C) >= 2**31, **config.options(), enable_fp_fusion=True,
        )  # fmt: skip
        nearest_token_pick_kernel[(B * L,)](
            best, winner, slots, count, token, blocks, **PICK.options(), enable_fp_fusion=False
        )

    launch("nearest_token", CONFIGS, state, run, case=_case(table), shape=(B * L, C, V))
    return token
