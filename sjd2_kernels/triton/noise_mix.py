"""noise_mix in Triton: slot j of the new window comes from slot i = j + shift of the old one.

The first rule that applies (docs/operators.md): outside the image, forced, new (Gaussian), clean, last denoising step,
denoising step: state = a * state[i] + (1 - a) * table[fresh[i]], a = times[l - 1] / times[l].
One program per slot and block of BC channels. Bytes: old state and table row read once, new state and rows written
once; slots that are dropped or overruled are never read. Bound by memory but for the new slots, which are bound by
Philox and Box-Muller. No sums: every element is a function of its own inputs (rung L2, to a tolerance across backends).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..layout import dense, rows_last
from ..reference.noise_mix import noise_mix as reference
from .launch import Config, launch
from .narrow import landed, landing
from .normal import normals

CONFIGS = (Config("two groups of four channels per thread: few registers, full 16-byte accesses", 4, 1, {"BC": 1024}),)


@triton.jit
def _rule(level, tokens, fresh, shift, forced, n_tokens, accept_len, done, i_b, i_j, position, L, T):
    """(new level, token, is new, old slot) of slot i_j: rules 4 to 6, then 3, 2 and 1, each overruling those before."""
    old = i_j + tl.minimum(tl.maximum(tl.load(shift + i_b), 0), L)
    source = tl.minimum(old, L - 1)
    before = tl.minimum(tl.maximum(tl.load(level + i_b * L + source), 0), T)
    clean = before == 0
    if accept_len is not None:
        clean = clean | (old <= tl.load(accept_len + i_b))
    token = tl.where(clean, tl.load(tokens + i_b * L + source), tl.load(fresh + i_b * L + source))
    after = tl.where(clean, 0, before - 1)

    new = old >= L
    after = tl.where(new, T, after)
    if forced is not None:
        must = tl.load(forced + i_b * L + i_j)
        after, token, new = tl.where(must >= 0, 0, after), tl.where(must >= 0, must, token), new & (must < 0)
    outside = new & (T == 0)  # there is no noisy level to begin at
    if n_tokens is not None:
        outside = outside | (position >= tl.load(n_tokens + i_b))
    if done is not None:
        outside = outside | (tl.load(done + i_b) != 0)
    return tl.where(outside, 0, after), tl.where(outside, -1, token), new, source


@triton.jit
def noise_mix_kernel(
    state, level, tokens, fresh, shift, times, table, mean, std, seed, pos, forced, n_tokens, accept_len, done,
    new_state, new_level, draft, rows, s_image, s_slot, s_table, L, C, V, T, blocks, BC: tl.constexpr,
):  # fmt: skip
    """BC channels of one slot of the new window."""
    i = tl.program_id(0)
    i_c, i_n = i % blocks, (i // blocks).to(tl.int64)
    i_b, i_j = i_n // L, i_n % L
    o_c = i_c * BC + tl.arange(0, BC)
    m_c = o_c < C
    position = tl.load(pos + i_b) + i_j
    after, token, new, source = _rule(
        level, tokens, fresh, shift, forced, n_tokens, accept_len, done, i_b, i_j, position, L, T
    )
    if i_c == 0:
        tl.store(new_level + i_n, after.to(tl.int32))
        tl.store(draft + i_n, tl.where(after > 0, -1, token))

    # an id outside the table reads as zeros, whatever the table holds; pure noise needs none
    inside = (token >= 0) & (token < V) & ((after == 0) | (new == 0))
    p_table = table + tl.where(inside, token, 0) * s_table + o_c
    b_x = tl.load(p_table, mask=o_c < tl.where(inside, C, 0), other=0.0).to(tl.float32)  # [BC]

    if after > 0:
        if new:
            eps = normals(tl.load(seed + i_b), position, i_c * BC, BC)
            b_mean = tl.load(mean + o_c, mask=m_c, other=0.0)
            b_x = b_mean + tl.load(std + o_c, mask=m_c, other=0.0) * eps
        else:
            keep = tl.div_rn(tl.load(times + after), tl.load(times + after + 1))
            b_old = tl.load(state + i_b * s_image + source * s_slot + o_c, mask=m_c, other=0.0)
            b_x = keep * b_old + (1.0 - keep) * b_x

    tl.store(new_state + i_n * C + o_c, b_x, mask=m_c)
    tl.store(rows + i_n * C + o_c, b_x.to(rows.dtype.element_ty), mask=m_c)


def noise_mix(
    state: Tensor,
    level: Tensor,
    tokens: Tensor,
    fresh: Tensor,
    shift: Tensor,
    times: Tensor,
    table: Tensor,
    mean: Tensor,
    std: Tensor,
    seed: Tensor,
    pos: Tensor,
    forced: Tensor | None = None,
    n_tokens: Tensor | None = None,
    accept_len: Tensor | None = None,
    done: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``sjd2::noise_mix``; float64 and windows without slots or channels go to the reference."""
    B, L, C = state.shape
    if state.dtype == torch.float64 or B * L * C == 0:
        return reference(
            state, level, tokens, fresh, shift, times, table, mean, std, seed, pos, forced, n_tokens, accept_len, done
        )
    state, table = rows_last(state), rows_last(table)
    before = map(dense, (level, tokens, fresh, shift, times))
    after = map(dense, (mean, std, seed, pos, forced, n_tokens, accept_len, done))
    new_state, rows = state.new_empty((B, L, C)), landing((B, L, C), table)
    new_level, draft = level.new_empty((B, L)), tokens.new_empty((B, L))
    inputs = state, *before, table, *after
    numbers = (*state.stride()[:2], table.stride(0), L, C, table.shape[0], times.shape[0] - 1)

    def run(config: Config) -> None:
        blocks = triton.cdiv(C, config.blocks["BC"])
        noise_mix_kernel[(B * L * blocks,)](
            *inputs, new_state, new_level, draft, rows, *numbers, blocks, **config.options(), enable_fp_fusion=False
        )

    launch("noise_mix", CONFIGS, state, run)
    return new_state, new_level, draft, landed(rows, table)
