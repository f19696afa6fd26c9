"""noise_embed's derivative in Triton: grad_table[v] = sum of (1 - t) * grad over the positions with token v.

The positions are sorted by token outside (stable, on the device); one program per table row and block of BC channels
adds the row's positions in that order, BP at a time, in float32, and rounds once. Bytes: grad once, the table's
gradient once, zeros where no position has the row. No atomics: a sum depends on its own positions and their order only
(rung L2).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..layout import rows_last
from ..reference.noise_embed_backward import noise_embed_backward as reference
from .launch import Config, launch
from .narrow import landed, landing

CONFIGS = (Config("most rows have few positions; many for the rows that have thousands", 4, 1, {"BP": 16, "BC": 512}),)


@triton.jit
def noise_embed_backward_kernel(
    grad, t, order, first, table, s_image, s_position, N, C, blocks, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """BC channels of one table row."""
    i = tl.program_id(0)
    i_c, i_v = i % blocks, (i // blocks).to(tl.int64)
    o_c = i_c * BC + tl.arange(0, BC)
    m_c = o_c < C
    begin, end = tl.load(first + i_v).to(tl.int32), tl.load(first + i_v + 1).to(tl.int32)

    b_sum = tl.zeros([BC], tl.float32)
    for j in range(begin, end, BP):
        o_p = j + tl.arange(0, BP)
        m_p = o_p < end
        i_n = tl.load(order + o_p, mask=m_p, other=0)  # [BP], int64
        b_t = tl.load(t + i_n, mask=m_p, other=1.0)
        p = grad + ((i_n // N) * s_image + (i_n % N) * s_position)[:, None] + o_c[None, :]
        b_grad = tl.load(p, mask=m_p[:, None] & m_c[None, :], other=0.0).to(tl.float32)  # [BP, BC]
        b_sum += tl.sum((1.0 - b_t)[:, None] * b_grad, 0)

    tl.store(table + i_v * C + o_c, b_sum.to(table.dtype.element_ty), mask=m_c)


def noise_embed_backward(
    grad: Tensor, token: Tensor, t: Tensor, done: Tensor | None, V: int, dtype: torch.dtype
) -> Tensor:
    """[V, C] in ``dtype``; float64 and empty calls go to the reference."""
    B, N, C = grad.shape
    if dtype == torch.float64 or V * B * N * C == 0:
        return reference(grad, token, t, done, V, dtype)
    grad, t = rows_last(grad), t.contiguous()
    counts = (token >= 0) & (token < V)
    if done is not None:
        counts = counts & (done == 0)[:, None]
    # what does not count sorts behind every row
    row, order = torch.where(counts, token, V).flatten().sort(stable=True)
    first = torch.searchsorted(row, torch.arange(V + 1, device=row.device))
    like = grad.new_empty(0, dtype=dtype)
    table = landing((V, C), like)

    def run(config: Config) -> None:
        blocks = triton.cdiv(C, config.blocks["BC"])
        noise_embed_backward_kernel[(V * blocks,)](
            grad, t, order, first, table, *grad.stride()[:2], N, C, blocks, **config.options(), enable_fp_fusion=False
        )

    launch("noise_embed_backward", CONFIGS, grad, run)
    return landed(table, like)
