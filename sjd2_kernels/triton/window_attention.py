"""window_attention in Triton: out[m] = sum_s w[m, s] value[s], w = softmax of scale * q[m] . key[s] over what m sees.

Two kernels. Split: one program per tile of BM queries, part of the prefix, and model row x kv head. The live rows,
counted from q_start, are packed (row, head) so that the heads of a group fill a tile; the prefix is read in blocks of
BN keys without a mask, its last block with one; the last part also takes the causal window, from the inputs k and v. It
leaves the largest score, the sum of the weights and the weighted values of its part. Merge: one program per BR rows,
head and model row. It begins with the timestep's score and value, adds the parts in ascending order, writes the output,
and writes the rows' keys and values to the cache behind the prefix, where split does not read.

Bytes: the cache up to kv_len once per tile, q, k, v and out, and the parts in float32, written and read once.
Determinism: a row's parts depend on its length and the configuration only, blocks begin at fixed key positions, and the
merge is in fixed order: rung L2. The timestep is not where split begins because ptxas then serialises the matrix
instructions of sm_90 (its warning C7515).
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..layout import dense, rows_last
from ..reference.window_attention import window_attention as reference
from .launch import Config, launch
from .narrow import landed, landing, matrix_type

LOG2_E = 1.4426950408889634
MAX_D = {torch.float32: 128, torch.bfloat16: 256, torch.float16: 256}  # larger ones spill in every shape of tile
NOMINAL_ROWS = 2  # the model rows of one guided image: the number of parts must not depend on the real number

# BM packed queries, BN keys; LEAST prefix keys for which a part pays; WAVE programs that run at once on the largest GPU
# of the architecture (A100 108, H100 132, B200 148 multiprocessors)
_FEW = "few queries: the smallest matrix tile, and parts enough that every multiprocessor reads"
_MANY = "all queries of a window share each read of the cache: two warp groups, one program per multiprocessor"
_PACKED = "packed heads: one warp group per tile, two programs per multiprocessor hide each other's softmax"
_AMPERE = "its products take their operands from registers: as many keys per block as 255 registers hold"
_DEEP = "head dims above 128: half the keys per block, for the registers"
_FLOAT32 = "products of float32 on the plain cores, which unroll over the head dim: larger tiles spill"
_ODD = "head dims that are no multiple of 16 come one number at a time, through registers: no copies ahead"
CONFIGS = (
    Config(_FEW, 4, 3, {"BM": 16, "BN": 64, "LEAST": 256, "WAVE": 216}, "few", (80,)),
    Config(_FEW, 4, 3, {"BM": 16, "BN": 64, "LEAST": 256, "WAVE": 264}, "few", (90,)),
    Config(_FEW, 4, 3, {"BM": 16, "BN": 64, "LEAST": 256, "WAVE": 296}, "few", (100,)),
    Config(_AMPERE, 8, 3, {"BM": 128, "BN": 32, "LEAST": 256, "WAVE": 108}, "many", (80,)),
    Config(_MANY, 8, 3, {"BM": 128, "BN": 64, "LEAST": 256, "WAVE": 132}, "many", (90,)),
    Config(_MANY, 8, 3, {"BM": 128, "BN": 64, "LEAST": 256, "WAVE": 148}, "many", (100,)),
    Config(_AMPERE, 8, 3, {"BM": 128, "BN": 32, "LEAST": 256, "WAVE": 108}, "packed", (80,)),
    Config(_PACKED, 4, 3, {"BM": 64, "BN": 64, "LEAST": 256, "WAVE": 264}, "packed", (90,)),
    Config(_PACKED, 4, 3, {"BM": 64, "BN": 64, "LEAST": 256, "WAVE": 296}, "packed", (100,)),
    Config(_MANY, 8, 3, {"BM": 128, "BN": 64, "LEAST": 256, "WAVE": 132}, "packed", (90,)),
    Config(_MANY, 8, 3, {"BM": 128, "BN": 64, "LEAST": 256, "WAVE": 148}, "packed", (100,)),
    Config(_AMPERE, 8, 2, {"BM": 32, "BN": 32, "LEAST": 256, "WAVE": 108}, "deep", (80,)),
    Config(_DEEP, 8, 2, {"BM": 64, "BN": 32, "LEAST": 256, "WAVE": 132}, "deep", (90,)),
    Config(_DEEP, 8, 2, {"BM": 64, "BN": 32, "LEAST": 256, "WAVE": 148}, "deep", (100,)),
    Config(_FLOAT32, 8, 2, {"BM": 16, "BN": 16, "LEAST": 256, "WAVE": 132}, "float32"),
    Config(_ODD, 8, 1, {"BM": 16, "BN": 32, "LEAST": 256, "WAVE": 132}, "odd"),
)
MERGE = Config("bound by memory: sixteen values per thread in flight, hundreds of programs", 2, 1, {"BR": 8})


def _case(q: Tensor, group: int) -> str:
    """Which entries of CONFIGS a call is for."""
    if q.shape[3] % 16:
        return "odd"
    if q.dtype == torch.float32:
        return "float32"
    if q.shape[3] > 128:
        return "deep"
    if q.shape[1] * group <= 16:
        return "few"
    return "many" if group == 1 else "packed"


@triton.jit
def _extent(i_r, kv_len, q_start, done, images, M, S):
    """(length, start, live rows) of a model row as they are read; an image that is done has no live rows."""
    length = tl.minimum(tl.maximum(tl.load(kv_len + i_r), 0), S)
    start = tl.minimum(tl.maximum(tl.load(q_start + i_r), 0), M)
    live = tl.minimum(M - start, S - length)
    if done is not None:
        live = tl.where(tl.load(done + i_r % images) != 0, 0, live)
    return length, start, live


@triton.jit
def _parts(length, most, LEAST: tl.constexpr, BN: tl.constexpr):
    """(keys per part, parts) of a prefix: whole blocks, from its length alone; only the part of no keys is empty."""
    wanted = tl.maximum(tl.minimum(tl.cdiv(length, LEAST), most), 1)
    size = tl.maximum(tl.cdiv(tl.cdiv(length, wanted), BN), 1) * BN
    return size, tl.maximum(tl.cdiv(length, size), 1)


@triton.jit
def _rows(p, o_n, stride, o_d, m_n, D: tl.constexpr, BD: tl.constexpr, DOT: tl.constexpr):
    """Rows o_n of a matrix whose rows lie stride apart, zeros where m_n (if there is one) or the last axis ends."""
    p = p + (o_n[:, None] * stride + o_d[None, :])  # [BN, BD]
    if m_n is None and D == BD:
        b = tl.load(p)
    elif m_n is None:
        b = tl.load(p, mask=(o_d < D)[None, :], other=0.0)
    else:
        b = tl.load(p, mask=m_n[:, None] & (o_d < D)[None, :], other=0.0)
    return b.to(DOT)


@triton.jit
def _weigh(b_o, b_top, b_total, b_q, b_k, m_seen, scale):
    """One block of keys into a running softmax: its weights, and the weighted values, largest score, sum so far."""
    b_s = tl.dot(b_q, tl.trans(b_k), input_precision="ieee") * scale  # [BM, BN]
    if m_seen is not None:
        b_s = tl.where(m_seen, b_s, float("-inf"))
    b_new = tl.maximum(b_top, tl.max(b_s, 1))
    b_shift = b_new
    if m_seen is not None:  # a query that has seen nothing yet
        b_shift = tl.where(b_new == float("-inf"), 0.0, b_new)
    b_w = tl.exp2(b_s - b_shift[:, None])
    b_keep = tl.exp2(b_top - b_shift)
    return b_w, b_o * b_keep[:, None], b_new, b_total * b_keep + tl.sum(b_w, 1)


@triton.jit
def window_attention_split_kernel(
    q, k, v, k_cache, v_cache, kv_len, q_start, done, values, tops, totals, scale,
    s_qr, s_qm, s_qh, s_kr, s_km, s_kh, s_vr, s_vm, s_vh, s_ckr, s_ckh, s_cks, s_cvr, s_cvh, s_cvs,
    R, M, H, Hkv, S, images, tiles, parts, most,
    G: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, LEAST: tl.constexpr,
    WIDE: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """The softmax of one tile of queries over one part of the prefix, and over the window in the last part."""
    i = tl.program_id(0)
    i_t, i_p, i_rh = i % tiles, i // tiles % parts, i // (tiles * parts)
    i_r, i_h = (i_rh // Hkv).to(tl.int64), (i_rh % Hkv).to(tl.int64)
    length, start, live = _extent(i_r, kv_len, q_start, done, images, M, S)
    size, used = _parts(length, most, LEAST, BN)
    if (i_t * BM >= live * G) | (i_p >= used):
        return

    o_q, o_n, o_d = i_t * BM + tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, BD)
    o_j, o_g = o_q // G, o_q % G  # live row, head of the group
    m_q = o_j < live
    step = tl.full((), BN, tl.int64)
    o_m = start + o_j
    if WIDE:
        o_m, o_n = o_m.to(tl.int64), o_n.to(tl.int64)
    p_q = q + i_r * s_qr + i_h * G * s_qh
    b_q = _rows(p_q, o_m * s_qm + o_g * s_qh, 1, o_d, m_q, D, BD, DOT)  # [BM, BD]

    b_top = tl.full([BM], float("-inf"), tl.float32)
    b_total = tl.zeros([BM], tl.float32)
    b_o = tl.zeros([BM, BD], tl.float32)

    begin, end = i_p * size, tl.minimum(i_p * size + size, length)
    whole = begin + (end - begin) // BN * BN
    p_k = k_cache + i_r * s_ckr + i_h * s_ckh + begin.to(tl.int64) * s_cks
    p_v = v_cache + i_r * s_cvr + i_h * s_cvh + begin.to(tl.int64) * s_cvs
    for _ in range(begin, whole, BN):
        b_k = _rows(p_k, o_n, s_cks, o_d, None, D, BD, DOT)  # [BN, BD]
        b_w, b_o, b_top, b_total = _weigh(b_o, b_top, b_total, b_q, b_k, None, scale)
        b_v = _rows(p_v, o_n, s_cvs, o_d, None, D, BD, DOT)
        b_o = tl.dot(b_w.to(DOT), b_v, b_o, input_precision="ieee")
        p_k += step * s_cks
        p_v += step * s_cvs

    if whole < end:  # what lies behind the prefix may be NaN
        m_n = o_n < end - whole
        b_k = _rows(p_k, o_n, s_cks, o_d, m_n, D, BD, DOT)
        b_w, b_o, b_top, b_total = _weigh(b_o, b_top, b_total, b_q, b_k, m_n[None, :], scale)
        b_v = _rows(p_v, o_n, s_cvs, o_d, m_n, D, BD, DOT)
        b_o = tl.dot(b_w.to(DOT), b_v, b_o, input_precision="ieee")

    if i_p == used - 1:
        seen = tl.minimum(live, (i_t * BM + BM - 1) // G + 1)  # window rows up to the tile's last
        p_k = k + i_r * s_kr + i_h * s_kh + start.to(tl.int64) * s_km
        p_v = v + i_r * s_vr + i_h * s_vh + start.to(tl.int64) * s_vm
        for j in tl.range(0, seen, BN, num_stages=1):
            m_n = j + o_n < seen
            m_seen = (j + o_n)[None, :] <= o_j[:, None]
            # a weight of zero does not stop a value that is not finite: its row goes, and all of who sees it is NaN
            b_v = _rows(p_v, o_n, s_vm, o_d, m_n, D, BD, DOT)
            b_bad = tl.sum(tl.where(tl.abs(b_v.to(tl.float32)) < float("inf"), 0, 1), 1)  # [BN]
            b_k = _rows(p_k, o_n, s_km, o_d, m_n, D, BD, DOT)
            b_w, b_o, b_top, b_total = _weigh(b_o, b_top, b_total, b_q, b_k, m_seen & m_n[None, :], scale)
            b_v = _rows(p_v, o_n, s_vm, o_d, m_n & (b_bad == 0), D, BD, DOT)
            b_o = tl.dot(b_w.to(DOT), b_v, b_o, input_precision="ieee")
            lost = tl.max((m_seen & (b_bad != 0)[None, :]).to(tl.int32), 1)
            b_total = tl.where(lost != 0, float("nan"), b_total)
            p_k += step * s_km
            p_v += step * s_vm

    # [parts, R, M, H], and D behind it
    at = ((i_p * R + i_r) * M + start + o_j) * H + i_h * G + o_g
    tl.store(tops + at, b_top, mask=m_q)
    tl.store(totals + at, b_total, mask=m_q)
    tl.store(values + at[:, None] * D + o_d[None, :], b_o, mask=m_q[:, None] & (o_d < D)[None, :])


@triton.jit
def window_attention_merge_kernel(
    q, k, v, k_cache, v_cache, kv_len, q_start, time_k, time_v, level, done, values, tops, totals, out, scale,
    s_qr, s_qm, s_qh, s_kr, s_km, s_kh, s_vr, s_vm, s_vh, s_ckr, s_ckh, s_cks, s_cvr, s_cvh, s_cvs,
    R, M, H, Hkv, S, images, levels, blocks, most,
    G: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, BR: tl.constexpr, BN: tl.constexpr, LEAST: tl.constexpr,
):  # fmt: skip
    """Timestep and parts into the output; the rows of one head per group go to the cache."""
    i = tl.program_id(0)
    i_b, i_h, i_r = i % blocks, (i // blocks % H).to(tl.int64), (i // (blocks * H)).to(tl.int64)
    i_kv = i_h // G
    length, start, live = _extent(i_r, kv_len, q_start, done, images, M, S)
    o_m, o_d = (i_b * BR + tl.arange(0, BR)).to(tl.int64), tl.arange(0, BD)
    m_m = (o_m >= start) & (o_m < start + live)
    m_d = (o_d < D)[None, :]
    m_md = m_m[:, None] & m_d

    b_top = tl.full([BR], float("-inf"), tl.float32)
    b_total = tl.zeros([BR], tl.float32)
    b_o = tl.zeros([BR, BD], tl.float32)
    if level is not None:
        b_level = tl.load(level + i_r * M + o_m, mask=m_m, other=0)
        m_t = (b_level > 0) & (b_level < levels)
        p_q = q + i_r * s_qr + i_h * s_qh + o_m[:, None] * s_qm + o_d[None, :]
        o_t = (b_level[:, None].to(tl.int64) * Hkv + i_kv) * D + o_d[None, :]
        b_q = tl.load(p_q, mask=m_t[:, None] & m_d, other=0.0).to(tl.float32)
        b_k = tl.load(time_k + o_t, mask=m_t[:, None] & m_d, other=0.0).to(tl.float32)
        b_o = tl.load(time_v + o_t, mask=m_t[:, None] & m_d, other=0.0).to(tl.float32)
        b_top = tl.where(m_t, tl.sum(b_q * b_k, 1) * scale, float("-inf"))
        b_total = m_t.to(tl.float32)

    _, used = _parts(length, most, LEAST, BN)
    o_p, step = (i_r * M + o_m) * H + i_h, tl.full((), H, tl.int64) * M * R
    for _ in range(used):
        b_new = tl.load(tops + o_p, mask=m_m, other=0.0)
        b_part = tl.load(values + o_p[:, None] * D + o_d[None, :], mask=m_md, other=0.0)
        b_max = tl.maximum(b_top, b_new)
        b_keep, b_add = tl.exp2(b_top - b_max), tl.exp2(b_new - b_max)
        b_total = b_total * b_keep + tl.load(totals + o_p, mask=m_m, other=1.0) * b_add
        b_o = b_o * b_keep[:, None] + b_part * b_add[:, None]
        b_top = b_max
        o_p += step

    b_o = tl.where(m_m[:, None], b_o / b_total[:, None], 0.0)
    p_o = out + ((i_r * M + o_m) * H + i_h)[:, None] * D + o_d[None, :]
    tl.store(p_o, b_o.to(out.dtype.element_ty), mask=(o_m < M)[:, None] & m_d)

    if i_h % G == 0:
        o_s = length + (o_m - start)
        p_k = k + i_r * s_kr + i_kv * s_kh + o_m[:, None] * s_km + o_d[None, :]
        p_v = v + i_r * s_vr + i_kv * s_vh + o_m[:, None] * s_vm + o_d[None, :]
        p_ck = k_cache + i_r * s_ckr + i_kv * s_ckh + o_s[:, None] * s_cks + o_d[None, :]
        p_cv = v_cache + i_r * s_cvr + i_kv * s_cvh + o_s[:, None] * s_cvs + o_d[None, :]
        tl.store(p_ck, tl.load(p_k, mask=m_md), mask=m_md)
        tl.store(p_cv, tl.load(p_v, mask=m_md), mask=m_md)


def parts_at_most(wave: int, Hkv: int, tiles: int) -> int:
    """Parts of a long prefix with which one guided image makes a wave of programs."""
    return max(1, wave // (NOMINAL_ROWS * Hkv * tiles))


def _run(config: Config, c: dict[str, Any], out: Tensor, scale: float, images: int, levels: int) -> None:
    """Both kernels of a call ``c`` with one configuration."""
    q, k, v, k_cache, v_cache = (c[name] for name in ("q", "k", "v", "k_cache", "v_cache"))
    (R, M, H, D), (Hkv, S) = q.shape, k_cache.shape[1:3]
    G, BM, BN, LEAST, WAVE = H // Hkv, *config.blocks.values()
    tiles, blocks = triton.cdiv(M * G, BM), triton.cdiv(M, MERGE.blocks["BR"])
    most = parts_at_most(WAVE, Hkv, tiles)
    parts = min(most, max(1, triton.cdiv(S, LEAST)))
    values, tops, totals = (q.new_empty((parts, R, M, H, *d), dtype=torch.float32) for d in ((D,), (), ()))
    strides = [s for x in (q, k, v, k_cache, v_cache) for s in x.stride()[:3]]
    # the elements that an offset from the first row of a tile spans
    far = max(
        *(M * x.stride(1) + H * x.stride(2) for x in (q, k, v)), *(BN * x.stride(2) for x in (k_cache, v_cache)),
    )  # fmt: skip
    shapes = {"G": G, "D": D, "BD": max(triton.next_power_of_2(D), 16), "BN": BN, "LEAST": LEAST}
    window_attention_split_kernel[(tiles * parts * R * Hkv,)](
        q, k, v, k_cache, v_cache, c["kv_len"], c["q_start"], c["done"], values, tops, totals, scale, *strides,
        R, M, H, Hkv, S, images, tiles, parts, most, **shapes, BM=BM, WIDE=far >= 2**31, DOT=matrix_type(q.dtype),
        num_warps=config.num_warps, num_stages=config.num_stages, enable_fp_fusion=True,
    )  # fmt: skip
    window_attention_merge_kernel[(blocks * H * R,)](
        q, k, v, k_cache, v_cache, c["kv_len"], c["q_start"], c["time_k"], c["time_v"], c["level"], c["done"],
        values, tops, totals, out, scale, *strides, R, M, H, Hkv, S, images, levels, blocks, most, **shapes,
        **MERGE.options(), enable_fp_fusion=True,
    )  # fmt: skip


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    kv_len: Tensor,
    q_start: Tensor,
    scale: float,
    time_k: Tensor | None = None,
    time_v: Tensor | None = None,
    level: Tensor | None = None,
    done: Tensor | None = None,
    *,
    shadow: int = 0,
    refeed: int = 1,
) -> Tensor:
    """``sjd2::window_attention``; shadow rows, float64, head dims above MAX_D and empty calls go to the reference."""
    if shadow or q.shape[3] > MAX_D.get(q.dtype, 0) or q.numel() == 0:
        return reference(
            q, k, v, k_cache, v_cache, kv_len, q_start, scale, time_k, time_v, level, done, shadow=shadow, refeed=refeed
        )
    c: dict[str, Tensor | None] = {
        "q": rows_last(q),
        "k": rows_last(k),
        "v": rows_last(v),
        "k_cache": k_cache,
        "v_cache": v_cache,
    }
    small = {"kv_len": kv_len, "q_start": q_start, "time_k": time_k, "time_v": time_v, "level": level, "done": done}
    c |= {name: dense(value) for name, value in small.items()}
    out = landing(q.shape, q)
    images, levels = 1 if done is None else done.shape[0], 0 if time_k is None else time_k.shape[0]
    group = q.shape[2] // k.shape[2]
    launch(
        "window_attention", CONFIGS, q, lambda config: _run(config, c, out, scale * LOG2_E, images, levels),
        case=_case(q, group), shape=(*q.shape, group),
    )  # fmt: skip
    return landed(out, q)
