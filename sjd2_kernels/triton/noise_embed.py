"""noise_embed in Triton: rows[b, n] = (1 - t) * table[token] + t * (mean + std * eps), eps of stream 3 at pos[b] + n.

One program per position and block of BC channels; clean positions (t == 0) draw nothing. Bytes: one table row read and
one row written per position; bound by memory where t == 0, by Philox and Box-Muller elsewhere. No sums, so no order to
keep: every element is a function of its own inputs (rung L2, to a tolerance across backends).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..layout import dense, rows_last
from ..reference.noise_embed import noise_embed as reference
from .launch import Config, launch
from .narrow import landed, landing
from .normal import normals

CONFIGS = (Config("two groups of four channels per thread: few registers, full 16-byte accesses", 4, 1, {"BC": 1024}),)


@triton.jit
def noise_embed_kernel(
    table, token, mean, std, t, seed, pos, done, rows, s_table, N, C, V, blocks, BC: tl.constexpr,
):  # fmt: skip
    """BC channels of one position."""
    i = tl.program_id(0)
    i_c, i_n = i % blocks, (i // blocks).to(tl.int64)
    i_b = i_n // N
    o_c = i_c * BC + tl.arange(0, BC)
    m_c = o_c < C
    p_rows = rows + i_n * C + o_c
    flag = 0
    if done is not None:
        flag = tl.load(done + i_b)
    if flag != 0:
        tl.store(p_rows, tl.zeros([BC], rows.dtype.element_ty), mask=m_c)
        return

    # an id outside the table reads as zeros, whatever the table holds
    b_id, b_t = tl.load(token + i_n), tl.load(t + i_n)
    inside = (b_id >= 0) & (b_id < V)
    p_table = table + tl.where(inside, b_id, 0) * s_table + o_c
    b_x = tl.load(p_table, mask=o_c < tl.where(inside, C, 0), other=0.0).to(tl.float32)  # [BC]

    if b_t != 0.0:
        eps = normals(tl.load(seed + i_b), tl.load(pos + i_b) + i_n % N, i_c * BC, BC)
        b_mean = tl.load(mean + o_c, mask=m_c, other=0.0)
        b_std = tl.load(std + o_c, mask=m_c, other=0.0)
        b_x = (1.0 - b_t) * b_x + b_t * (b_mean + b_std * eps)

    tl.store(p_rows, b_x.to(rows.dtype.element_ty), mask=m_c)


def noise_embed(
    table: Tensor,
    token: Tensor,
    mean: Tensor,
    std: Tensor,
    t: Tensor,
    seed: Tensor,
    pos: Tensor,
    done: Tensor | None = None,
) -> Tensor:
    """``sjd2::noise_embed``; float64 and empty calls go to the reference."""
    (V, C), (B, N) = table.shape, token.shape
    if table.dtype == torch.float64 or B * N * C == 0:
        return reference(table, token, mean, std, t, seed, pos, done)
    table = rows_last(table)
    small = [dense(x) for x in (token, mean, std, t, seed, pos, done)]
    rows = landing((B, N, C), table)

    def run(config: Config) -> None:
        blocks = triton.cdiv(C, config.blocks["BC"])
        noise_embed_kernel[(B * N * blocks,)](
            table, *small, rows, table.stride(0), N, C, V, blocks, **config.options(), enable_fp_fusion=False,
        )  # fmt: skip

    launch("noise_embed", CONFIGS, table, run)
    return landed(rows, table)
