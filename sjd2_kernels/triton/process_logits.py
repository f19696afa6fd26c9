"""process_logits in Triton.

Formula: s = (u + g (c - u)) / T; keep the scores >= the k-th largest, then the smallest prefix by weight that reaches
top_p; w = trunc(2**((s - max) log2 e) 2**40) of what is kept; p = w / sum w; fresh = argmin E / w (docs/operators.md).

Geometry: one program per row (image, slot). The row passes through in tiles of TILE ids; between passes it lies in its
place in the output p, which the L1 and L2 caches hold: scores first, then weights, then probabilities. The search for
the k-th score keeps the row's keys in registers where they fit (HOLD ids), else it reads them again in every round.

Bytes: logits are read once from HBM and p is written once to it, as long as the rows in flight fit the L2 cache.

Determinism: rung L3. One float32 rounding a step, integer counts and sums, ties to the lowest id. Barriers stand
between passes, since a pass reads what other threads wrote, and before a tile is stored where it was loaded, since the
compiler may give load and store to different threads.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..layout import dense, rows_last
from . import pieces
from .launch import Config, launch

CONFIGS = (
    Config("a round of the search is one reduction over 4 warps", 4, blocks={"HOLD": 1024, "TILE": 1024}, case="1024"),
    Config("16 keys a thread", 8, blocks={"HOLD": 4096, "TILE": 2048}, case="4096"),
    Config("16 keys a thread", 16, blocks={"HOLD": 8192, "TILE": 4096}, case="8192"),
    Config("64 keys a thread do not spill; 32 warps do", 16, blocks={"HOLD": 32768, "TILE": 4096}, case="32768"),
    Config("two 16-byte loads a thread in flight", 16, blocks={"HOLD": 0, "TILE": 4096}, case="more"),
)

LARGEST = {"1024": 1024, "4096": 4096, "8192": 8192, "32768": 32768}  # V of each case; above them "more"

NO_KEY = tl.constexpr(-2147483648)
NAN_KEY = tl.constexpr(2147483647)
MASKED_KEY = tl.constexpr(-2139095041)  # of -inf, the smallest of any score
NO_ID = tl.constexpr(2147483647)
LEAST_MASS = tl.constexpr(0x3F800000)  # the bits of 1.0 and of 2**40
LARGEST_MASS = tl.constexpr(0x53800000)


@triton.jit
def _scores(cond, uncond, guidance, temperature, o_v, m_v):
    """Guided scores over temperature, float32; -inf where masked and where ``m_v`` is false."""
    b_s = tl.load(cond + o_v, mask=m_v, other=float("-inf")).to(tl.float32)
    m_masked = b_s == float("-inf")
    if uncond is not None:
        b_u = tl.load(uncond + o_v, mask=m_v, other=float("-inf")).to(tl.float32)
        m_masked = m_masked | (b_u == float("-inf"))
        b_s = b_s - b_u
        if guidance is not None:
            b_s = b_s * guidance
        b_s = b_s + b_u
    if temperature is not None:
        b_s = tl.div_rn(b_s, temperature)
    return tl.where(m_masked, float("-inf"), b_s)


@triton.jit
def _one_hot(p_p, V, i_one, TILE: tl.constexpr):
    """Write a row that is 1 at ``i_one`` and 0 elsewhere."""
    for start in range(0, V, TILE):
        o_v = start + tl.arange(0, TILE)
        tl.store(p_p + o_v, (o_v == i_one).to(tl.float32), mask=o_v < V)


@triton.jit
def _marks(lo, hi):
    """Three marks that split lo .. hi in quarters; the last is above lo if hi - lo > 1."""
    half = (hi - lo) >> 1
    return lo + ((hi - lo) >> 2), lo + half, lo + half + ((hi - lo - half) >> 1)


@triton.jit
def _narrowed(lo, hi, mark1, mark2, mark3, above1, above2, above3):
    """The quarter where a search goes on, given whether its answer is at or above each mark."""
    new_lo = tl.where(above3, mark3, tl.where(above2, mark2, tl.where(above1, mark1, lo)))
    new_hi = tl.where(above3, hi, tl.where(above2, mark3, tl.where(above1, mark2, mark1)))
    return new_lo, new_hi


@triton.jit
def _kth_key_held(p_p, V, k, top, HOLD: tl.constexpr):
    """A key that exactly the scores >= the k-th largest reach, 0 < k < V: bisection, the keys in registers.

    At least k keys are >= lo and fewer are >= hi; it ends early at a mark that exactly k reach.
    """
    o_v = tl.arange(0, HOLD)
    b_key = pieces.ordered_key(tl.load(p_p + o_v, mask=o_v < V, other=float("-inf")))
    lo = tl.full([], MASKED_KEY, tl.int64)
    hi = top.to(tl.int64) + 1
    while hi - lo > 1:
        mark = (lo + hi) >> 1
        n = tl.sum((b_key >= mark.to(tl.int32)).to(tl.int32))
        lo = tl.where(n >= k, mark, lo)
        hi = tl.where(n > k, hi, tl.where(n == k, mark + 1, mark))
    return lo.to(tl.int32)


@triton.jit
def _kth_key_streamed(p_p, V, k, top, TILE: tl.constexpr):
    """The same by rounds over the parked scores, each of which gains two bits."""
    lo = tl.full([], MASKED_KEY, tl.int64)
    hi = top.to(tl.int64) + 1
    while hi - lo > 1:
        mark1, mark2, mark3 = _marks(lo, hi)
        b_n1 = tl.zeros([TILE], tl.int32)
        b_n2 = tl.zeros([TILE], tl.int32)
        b_n3 = tl.zeros([TILE], tl.int32)
        for start in range(0, V, TILE):
            o_v = start + tl.arange(0, TILE)
            b_key = pieces.ordered_key(tl.load(p_p + o_v, mask=o_v < V, other=float("-inf")))
            b_n1 += (b_key >= mark1.to(tl.int32)).to(tl.int32)
            b_n2 += (b_key >= mark2.to(tl.int32)).to(tl.int32)
            b_n3 += (b_key >= mark3.to(tl.int32)).to(tl.int32)
        n1, n2, n3 = tl.sum(b_n1), tl.sum(b_n2), tl.sum(b_n3)
        lo, hi = _narrowed(lo, hi, mark1, mark2, mark3, n1 >= k, n2 >= k, n3 >= k)
        exact = tl.where(n3 == k, mark3, tl.where(n2 == k, mark2, mark1))
        found = (n1 == k) | (n2 == k) | (n3 == k)
        lo = tl.where(found, exact, lo)
        hi = tl.where(found, exact + 1, hi)
    return lo.to(tl.int32)


@triton.jit
def _mass_from(p_p, V, mark1, mark2, mark3, TILE: tl.constexpr):
    """Sums of the parked weights whose bits reach each mark, int64."""
    b_sum1 = tl.zeros([TILE], tl.int64)
    b_sum2 = tl.zeros([TILE], tl.int64)
    b_sum3 = tl.zeros([TILE], tl.int64)
    for start in range(0, V, TILE):
        o_v = start + tl.arange(0, TILE)
        b_w = tl.load(p_p + o_v, mask=o_v < V, other=0.0)
        b_bits = b_w.to(tl.int32, bitcast=True)
        b_w = b_w.to(tl.int64)
        b_sum1 += tl.where(b_bits >= mark1.to(tl.int32), b_w, 0)
        b_sum2 += tl.where(b_bits >= mark2.to(tl.int32), b_w, 0)
        b_sum3 += tl.where(b_bits >= mark3.to(tl.int32), b_w, 0)
    return tl.sum(b_sum1), tl.sum(b_sum2), tl.sum(b_sum3)


@triton.jit
def _top_p(p_p, V, share, total, TILE: tl.constexpr):
    """Zero the parked weights outside the smallest prefix by (weight descending, id ascending) whose mass reaches
    ceil(share total); returns the mass of the prefix."""
    exact = share.to(tl.float64) * total.to(tl.float64)
    need = exact.to(tl.int64)
    need += (need.to(tl.float64) < exact).to(tl.int64)
    need = tl.maximum(need, 1)

    # the smallest weight of the prefix: the largest that, with all above it, reaches the need
    lo = tl.full([], LEAST_MASS, tl.int64)
    hi = tl.full([], LARGEST_MASS + 1, tl.int64)
    while hi - lo > 1:
        mark1, mark2, mark3 = _marks(lo, hi)
        mass1, mass2, mass3 = _mass_from(p_p, V, mark1, mark2, mark3, TILE)
        lo, hi = _narrowed(lo, hi, mark1, mark2, mark3, mass1 >= need, mass2 >= need, mass3 >= need)
    above, _, _ = _mass_from(p_p, V, hi, hi, hi, TILE)
    cut = lo.to(tl.int32).to(tl.float32, bitcast=True)
    ties = ((need - above + cut.to(tl.int64) - 1) // cut.to(tl.int64)).to(tl.int32)  # how many of that weight

    tl.debug_barrier()
    seen = tl.zeros([], tl.int32)
    for start in range(0, V, TILE):
        o_v = start + tl.arange(0, TILE)
        b_w = tl.load(p_p + o_v, mask=o_v < V, other=0.0)
        b_tie = (b_w == cut).to(tl.int32)
        m_kept = (b_w > cut) | ((b_w == cut) & (seen + tl.cumsum(b_tie) <= ties))
        tl.debug_barrier()
        tl.store(p_p + o_v, tl.where(m_kept, b_w, 0.0), mask=o_v < V)
        seen += tl.sum(b_tie)
    return above + ties * cut.to(tl.int64)


@triton.jit
def _draw(p_p, V, total, seed, position, epoch, TILE: tl.constexpr):
    """Turn the parked weights into probabilities, and return the winner of their race."""
    b_time = tl.full([TILE], float("inf"), tl.float32)
    b_id = tl.zeros([TILE], tl.int32)
    for start in range(0, V, TILE):
        o_v = start + tl.arange(0, TILE)
        m_v = o_v < V
        b_w = tl.load(p_p + o_v, mask=m_v, other=0.0)
        b_u = pieces.uniform(pieces.words(seed, position, pieces.STREAM_DRAFT, epoch, start, TILE))
        b_time, b_id = pieces.race(b_time, b_id, b_u, b_w, o_v)
        tl.debug_barrier()
        tl.store(p_p + o_v, tl.div_rn(b_w, total.to(tl.float32)), mask=m_v)
    _, i_winner = pieces.winner(b_time, b_id)
    return i_winner


@triton.jit
def _park(p_p, cond, uncond, guidance, temperature, V, TILE: tl.constexpr):
    """Write the row's scores to its place in p.

    Returns the largest key, the lowest id that has it, the lowest id that is not masked (0 if there is none), status.
    """
    b_top = tl.full([TILE], NO_KEY, tl.int32)
    b_best = tl.zeros([TILE], tl.int32)
    b_lowest = tl.full([TILE], NO_ID, tl.int32)
    b_infinite = tl.zeros([TILE], tl.int32)
    for start in range(0, V, TILE):
        o_v = start + tl.arange(0, TILE)
        m_v = o_v < V
        b_s = _scores(cond, uncond, guidance, temperature, o_v, m_v)
        tl.store(p_p + o_v, b_s, mask=m_v)
        b_key = tl.where(b_s != b_s, NAN_KEY, pieces.ordered_key(b_s))
        b_best = tl.where(b_key > b_top, o_v, b_best)
        b_top = tl.maximum(b_top, b_key)
        b_lowest = tl.minimum(b_lowest, tl.where(b_s == float("-inf"), NO_ID, o_v))
        b_infinite = b_infinite | (b_s == float("inf")).to(tl.int32)
    top = tl.max(b_top)
    i_best = tl.min(tl.where(b_top == top, b_best, NO_ID))
    i_lowest = tl.min(b_lowest)
    status = (top == NAN_KEY).to(tl.int32) + 2 * tl.max(b_infinite) + 4 * (top == MASKED_KEY).to(tl.int32)
    return top, i_best, tl.where(i_lowest == NO_ID, 0, i_lowest), status


@triton.jit
def _weigh(p_p, V, cut, top, TILE: tl.constexpr):
    """Turn the parked scores into weights, 0 where the key is below ``cut``; returns their sum, int64."""
    top_score = (top ^ ((top >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)
    b_total = tl.zeros([TILE], tl.int64)
    for start in range(0, V, TILE):
        o_v = start + tl.arange(0, TILE)
        b_s = tl.load(p_p + o_v, mask=o_v < V, other=float("-inf"))
        b_w = tl.where(pieces.ordered_key(b_s) >= cut, pieces.mass(b_s, top_score), 0.0)
        tl.debug_barrier()
        tl.store(p_p + o_v, b_w, mask=o_v < V)
        b_total += b_w.to(tl.int64)
    return tl.sum(b_total)


@triton.jit
def _free_row(
    cond, uncond, guidance, temperature, top_k, top_p, seed, position, epoch, p_p, fresh, status, V,
    HOLD: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """A row whose logits are read; all pointers are to what is this row's."""
    if guidance is not None:
        guidance = tl.load(guidance)
    greedy = tl.zeros([], tl.int32)
    if temperature is not None:
        temperature = tl.load(temperature)
        greedy = 1 - (temperature > 0.0).to(tl.int32)
        temperature = tl.where(temperature > 0.0, temperature, 1.0)

    top, i_best, i_lowest, i_status = _park(p_p, cond, uncond, guidance, temperature, V, TILE)
    tl.store(status, i_status)
    tl.debug_barrier()
    if greedy + i_status > 0:
        i_one = tl.where(i_status > 0, i_lowest, i_best)
        _one_hot(p_p, V, i_one, TILE)
        tl.store(fresh, i_one.to(tl.int64))
    else:
        cut = tl.full([], MASKED_KEY, tl.int32)
        if top_k is not None:
            k = tl.load(top_k)
            if (k > 0) & (k < V):
                cut = _kth_key_held(p_p, V, k, top, HOLD) if HOLD > 0 else _kth_key_streamed(p_p, V, k, top, TILE)
                tl.debug_barrier()
        total = _weigh(p_p, V, cut, top, TILE)
        if top_p is not None:
            share = tl.load(top_p)
            if share < 1.0:
                tl.debug_barrier()
                total = _top_p(p_p, V, share, total, TILE)
        tl.debug_barrier()
        i_fresh = _draw(p_p, V, total, seed, position, epoch, TILE)
        tl.store(fresh, i_fresh.to(tl.int64))


@triton.jit
def process_logits_kernel(
    cond, uncond, guidance, temperature, top_k, top_p, seed, pos, epoch, forced, done, p, fresh, status,
    cond_b, cond_l, uncond_b, uncond_l, L, V, HOLD: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """One row: what it is given, or what its logits say."""
    i_row = tl.program_id(0).to(tl.int64)
    i_b, i_l = i_row // L, i_row % L
    p_p = p + i_row * V
    cond += i_b * cond_b + i_l * cond_l
    if uncond is not None:
        uncond += i_b * uncond_b + i_l * uncond_l
    if guidance is not None:
        guidance += i_b
    if temperature is not None:
        temperature += i_b
    if top_k is not None:
        top_k += i_b
    if top_p is not None:
        top_p += i_b

    i_seed, i_pos, i_epoch = tl.zeros([], tl.int64), i_l, tl.zeros([], tl.int64)
    if seed is not None:
        i_seed = tl.load(seed + i_b)
    if pos is not None:
        i_pos += tl.load(pos + i_b)
    if epoch is not None:
        i_epoch = tl.load(epoch + i_b)

    i_given = tl.full([], -2, tl.int64)  # the token of a row whose logits are not read
    if forced is not None:
        i_forced = tl.load(forced + i_row)
        i_given = tl.where(i_forced >= 0, i_forced, i_given)
    if done is not None:
        i_given = tl.where(tl.load(done + i_b) != 0, -1, i_given)

    if i_given >= -1:
        _one_hot(p_p, V, -1, TILE)
        tl.store(fresh + i_row, i_given)
        tl.store(status + i_row, 0)
    else:
        _free_row(
            cond, uncond, guidance, temperature, top_k, top_p, i_seed, i_pos, i_epoch,
            p_p, fresh + i_row, status + i_row, V, HOLD, TILE,
        )  # fmt: skip


def process_logits(
    cond: Tensor,
    uncond: Tensor | None = None,
    guidance: Tensor | None = None,
    temperature: Tensor | None = None,
    top_k: Tensor | None = None,
    top_p: Tensor | None = None,
    seed: Tensor | None = None,
    pos: Tensor | None = None,
    epoch: Tensor | None = None,
    forced: Tensor | None = None,
    done: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """See docs/operators.md, section process_logits."""
    B, L, V = cond.shape
    p = torch.empty(B, L, V, dtype=torch.float32, device=cond.device)
    fresh = torch.empty(B, L, dtype=torch.int64, device=cond.device)
    status = torch.empty(B, L, dtype=torch.int32, device=cond.device)
    if B * L == 0:
        return p, fresh, status
    cond = rows_last(cond)
    uncond = None if uncond is None else rows_last(uncond)
    uncond_strides = (0, 0) if uncond is None else uncond.stride()[:2]
    small = [dense(x) for x in (guidance, temperature, top_k, top_p, seed, pos, epoch, forced, done)]

    def run(config: Config) -> None:
        process_logits_kernel[(B * L,)](
            cond, uncond, *small, p, fresh, status, *cond.stride()[:2], *uncond_strides, L, V,
            **config.options(), enable_fp_fusion=False,
        )  # fmt: skip

    case = next((case for case, most in LARGEST.items() if most >= V), "more")
    launch("process_logits", CONFIGS, cond, run, case=case, shape=(V, B * L))
    return p, fresh, status
