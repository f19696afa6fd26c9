"""commit in Triton.

Formula, per image: good = kv_len + (A - q_start) + leading slots whose keys are right; c' = max(c, min(c +
min(accept_len + 1, L), min over rows of good + A - prompt_len, n_tokens, N)); kv_len' = min(good, prompt_len + c' - 1);
q_start' = A - (prompt_len + c' - kv_len') (docs/operators.md).

Geometry: one warp per image. Bytes: a few hundred integers; the kernel is its launch.

Determinism: exact, hence the same on every backend (rung L3). The state is read, then a barrier, then written: small
tensors are copied to every thread that has no element of its own, so a thread may read late what another wrote.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..layout import dense
from .launch import Config, launch

CONFIGS = (Config("a window of 128 slots is 4 to a lane; nothing to share between warps", 1),)


@triton.jit
def _model_id(ids, token, mask, n_ids):
    """ids[token], -1 for a token outside the table."""
    return tl.load(ids + token, mask=mask & (token >= 0) & (token < n_ids), other=-1)


@triton.jit
def commit_kernel(
    tokens, draft, accept_len, ids, prompt_len, n_tokens, level, out, pos, kv_len, q_start, refeed, epoch, done,
    n_commit, out_b, out_n, pos_b, kv_len_r, q_start_r, refeed_b, refeed_a, epoch_b, done_b, B, L, G, A, N, n_ids,
    SLOTS: tl.constexpr, ROWS: tl.constexpr, AGAIN: tl.constexpr,
):  # fmt: skip
    """One image."""
    i_b = tl.program_id(0).to(tl.int64)
    if tl.load(done + i_b * done_b) != 0:
        tl.store(n_commit + i_b, 0)
    else:
        # leading slots that were fed clean, as committed, and accepted
        o_l = tl.arange(0, SLOTS).to(tl.int64)
        m_l = o_l < L
        accepted = tl.load(accept_len + i_b).to(tl.int64)
        b_token = tl.load(tokens + i_b * L + o_l, mask=m_l, other=-1)
        m_right = m_l & (o_l < accepted) & (b_token == tl.load(draft + i_b * L + o_l, mask=m_l, other=-1))
        if level is not None:
            m_right = m_right & (tl.load(level + i_b * L + o_l, mask=m_l, other=0) == 0)
        leading = tl.min(tl.where(m_right, L, o_l))

        o_g = tl.arange(0, ROWS).to(tl.int64)
        m_g = o_g < G
        o_r = i_b + o_g * B
        b_prompt = tl.load(prompt_len + o_r, mask=m_g, other=0).to(tl.int64)
        b_good = tl.load(kv_len + o_r * kv_len_r, mask=m_g, other=0).to(tl.int64) + leading
        b_good += A - tl.load(q_start + o_r * q_start_r, mask=m_g, other=0)
        c = tl.load(pos + i_b * pos_b)
        limit = tl.minimum(tl.load(n_tokens + i_b), N)
        wanted = tl.minimum(c + tl.minimum(accepted + 1, L), limit)
        room = tl.min(tl.where(m_g, b_good + A - b_prompt, 9223372036854775807))
        after = tl.maximum(c, tl.minimum(wanted, room))
        b_length = tl.minimum(b_good, b_prompt + after - 1)
        b_again = b_prompt + after - b_length

        # the last `used` ids are fed again, unused leading rows repeat the last; those of this step are in tokens
        used = tl.maximum(tl.max(tl.where(m_g, b_again, 1)), 1)
        o_a = tl.arange(0, AGAIN).to(tl.int64)
        o_back = A - 1 - o_a
        o_place = after - 1 - tl.where(o_back < used, o_back, 0)
        m_a = (o_a < A) & (o_place >= 0) & (o_place < N)  # before the first token the prompt's end stays
        b_new = tl.load(tokens + i_b * L + o_place - c, mask=m_a & (o_place >= c), other=-1)
        b_new = _model_id(ids, b_new, m_a, n_ids)
        b_old = tl.load(out + i_b * out_b + o_place * out_n, mask=m_a & (o_place < c), other=-1)
        old_epoch = tl.load(epoch + i_b * epoch_b)

        tl.debug_barrier()
        o_n = c + o_l
        m_n = (o_l < after - c) & (o_n >= 0) & (o_n < N)
        tl.store(out + i_b * out_b + o_n * out_n, _model_id(ids, b_token, m_n, n_ids), mask=m_n)
        tl.store(refeed + i_b * refeed_b + o_a * refeed_a, tl.where(o_place >= c, b_new, b_old), mask=m_a)
        tl.store(kv_len + o_r * kv_len_r, b_length.to(tl.int32), mask=m_g)
        tl.store(q_start + o_r * q_start_r, (A - b_again).to(tl.int32), mask=m_g)
        tl.store(n_commit + i_b, (after - c).to(tl.int32))
        tl.store(pos + i_b * pos_b, after)
        tl.store(epoch + i_b * epoch_b, old_epoch + 1)
        tl.store(done + i_b * done_b, (after >= limit).to(tl.int32))


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
    (B, L), N, A = tokens.shape, out.shape[1], refeed.shape[1]
    n_commit = torch.empty(B, dtype=torch.int32, device=tokens.device)
    if B == 0:
        return n_commit
    G = prompt_len.shape[0] // B  # model rows per image; row r belongs to image r mod B
    inputs = [dense(x) for x in (tokens, draft, accept_len, ids, prompt_len, n_tokens, level)]
    state = (out, pos, kv_len, q_start, refeed, epoch, done)

    def run(config: Config) -> None:
        commit_kernel[(B,)](
            *inputs, *state, n_commit, *(stride for x in state for stride in x.stride()), B, L, G, A, N, ids.shape[0],
            SLOTS=triton.next_power_of_2(L), ROWS=triton.next_power_of_2(max(G, 1)), AGAIN=triton.next_power_of_2(A),
            **config.options(), enable_fp_fusion=False,
        )  # fmt: skip

    launch("commit", CONFIGS, tokens, run)
    return n_commit
