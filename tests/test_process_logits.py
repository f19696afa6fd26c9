"""process_logits: its law against Hugging Face's processors and against float64, and the cases where the outcome is
certain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from _live import on_backends
from torch import Tensor
from transformers.generation.logits_process import (
    ClassifierFreeGuidanceLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from sjd2_kernels import process_logits

pytestmark = on_backends("process_logits")

VOCABULARIES = [1, 31, 999, 1024, 4097, 8192, 32768, 65536]
INF, NAN = float("inf"), float("nan")
UNIT = 2.0**-24


def logits(*shape: int, seed: int = 0, scale: float = 3.0, dtype: torch.dtype = torch.float32) -> Tensor:
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).to(dtype)


def law64(cond: Tensor, uncond: Tensor | None = None, guidance: float = 1.0, temperature: float = 1.0) -> Tensor:
    """softmax of the guided scores over temperature in float64, and its scores."""
    s = cond.double()
    if uncond is not None:
        s = uncond.double() + guidance * (s - uncond.double())
    return torch.softmax(s / temperature, -1)


# the law


@pytest.mark.parametrize("V", VOCABULARIES)
def test_softmax_is_accurate_everywhere(backend: str, V: int) -> None:
    """B31. Relative error against float64 at flat, ordinary, peaked and very peaked laws, tail included.

    x = (s - max) log2 e carries three roundings, so p is off by at most (3 |s - max| + 6) 2^-24 of itself and 2^-40
    absolute.
    """
    for i, scale in enumerate((0.0, 0.1, 3.0, 12.0, 60.0)):
        cond = logits(1, 2, V, seed=i, scale=scale)
        cond[0, 1] = 0.0
        cond[0, 1, V // 2] = 7.0
        p, _, status = process_logits(cond, backend=backend)
        exact, distance = law64(cond), (cond.amax(-1, keepdim=True) - cond).double()
        bound = exact * (3 * distance + 6 + V * 2.0**-16) * UNIT + 2.0**-40
        excess = ((p - exact).abs() - bound).max().item()
        assert excess <= 0, (V, scale, excess)
        assert (status == 0).all(), (V, scale, excess)
        assert ((p.double().sum(-1) - 1).abs() < 2.0**-22).all()


def hugging_face(
    cond: Tensor, uncond: Tensor | None, guidance: float, temperature: float, top_k: int, top_p: float
) -> Tensor:
    """The law by transformers' processors, [N, V] float64."""
    ids, scores = torch.zeros(len(cond), 1, dtype=torch.long), cond.double()
    if uncond is not None:
        scores = ClassifierFreeGuidanceLogitsProcessor(guidance)(ids, torch.cat([scores, uncond.double()]))
    for warper in (TemperatureLogitsWarper(temperature), TopKLogitsWarper(top_k), TopPLogitsWarper(top_p)):
        scores = warper(ids, scores)
    return torch.softmax(scores, -1)


@pytest.mark.parametrize("V", VOCABULARIES[1:])
@pytest.mark.parametrize("guided", [False, True])
def test_hugging_face_processors(backend: str, V: int, guided: bool) -> None:
    """The same ids are kept and p agrees, over random temperatures, k and thresholds; in rows where float64 puts an id
    within 1e-6 of the threshold the one id at the boundary may differ."""
    N = 24 if V < 10000 else 3
    generator = torch.Generator().manual_seed(V)
    for i in range(N):
        cond, uncond = logits(3, V, seed=1000 + i), logits(3, V, seed=2000 + i)
        guidance, temperature = (1.25 + 3 * torch.rand(2, generator=generator)).tolist()
        temperature /= 2
        top_k = int(torch.randint(1, V + 1, (1,), generator=generator)) if i % 3 else min(V, 5)
        top_p = float(torch.rand(1, generator=generator)) if i % 4 else 0.999
        want = hugging_face(cond, uncond if guided else None, guidance, temperature, top_k, top_p)
        got = process_logits(
            cond[None], uncond[None] if guided else None, guidance if guided else None, temperature, top_k, top_p,
            backend=backend,
        )[0][0]  # fmt: skip
        changed = (got > 0) != (want > 0)
        assert changed.sum(-1).max() <= 1, (i, top_k, top_p)
        for row in changed.any(-1).nonzero()[:, 0]:
            untruncated = hugging_face(cond, uncond if guided else None, guidance, temperature, top_k, 1.0)
            ordered = untruncated[row].sort(descending=True).values.cumsum(-1)
            assert (ordered - top_p).abs().min() < 1e-6, (i, top_k, top_p)
        torch.testing.assert_close(
            got[~changed.any(-1)].double(), want[~changed.any(-1)], rtol=2e-5 if guided else 1e-5, atol=1e-9
        )


def test_guidance_below_one(backend: str) -> None:
    """Scales that transformers' class refuses: 0 is the unconditional law, -1 and 0.3 by the formula, 1 the conditional
    one."""
    cond, uncond = logits(4, 2, 500, seed=1), logits(4, 2, 500, seed=2)
    scale = torch.tensor([0.0, -1.0, 0.3, 1.0])
    p = process_logits(cond, uncond, scale, backend=backend)[0]
    for b in range(4):
        exact = law64(cond[b], uncond[b], scale[b].item())
        torch.testing.assert_close(p[b].double(), exact, rtol=2e-5, atol=1e-9)
    assert torch.equal(
        process_logits(cond, uncond, backend=backend)[0], process_logits(cond, uncond, 1, backend=backend)[0]
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_their_float32_values(backend: str, dtype: torch.dtype) -> None:
    """Every finite bit pattern among them: the type only changes what the logits are, never how they are treated."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    every = bits.view(dtype)[None, None]
    every = torch.where(every.isfinite(), every, 0)
    random = logits(2, 3, 4097, dtype=dtype)
    for cond in (every, random):
        options = {"temperature": 0.7, "top_k": 300, "top_p": 0.9, "seed": 3}
        got = process_logits(cond, cond.flip(-1), 1.5, **options, backend=backend)
        want = process_logits(cond.float(), cond.flip(-1).float(), 1.5, **options, backend=backend)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
        assert torch.equal(process_logits(cond, backend=backend)[0], process_logits(cond.float(), backend=backend)[0])


def test_float64_is_rounded_first(backend: str) -> None:
    """Two values that float32 cannot tell apart count as equal, and 1e300 as +inf."""
    cond = torch.tensor([[[1.0, 1.0 + 1e-12, 0.5], [1e300, 0.0, 0.0], [-1e300, 0.0, 0.0]]], dtype=torch.float64)
    got = process_logits(cond, temperature=0.5, top_k=1, backend=backend)
    want = process_logits(cond.float(), temperature=0.5, top_k=1, backend=backend)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    assert got[0][0, 0].tolist() == [0.5, 0.5, 0.0]
    assert got[2].tolist() == [[0, 2, 0]]


# truncation


def test_top_k_keeps_all_ties_as_hugging_face(backend: str) -> None:
    """B14. Integer-valued bfloat16 logits: dozens of ids share the k-th score; all of them stay, at every k."""
    V = 400
    cond = (torch.randint(0, 12, (1, 1, V), generator=torch.Generator().manual_seed(1))).to(torch.bfloat16)
    for k in range(1, V):
        p = process_logits(cond, top_k=k, backend=backend)[0][0, 0]
        kept = TopKLogitsWarper(k)(torch.zeros(1, 1, dtype=torch.long), cond[0].float()) > -INF
        assert torch.equal(p > 0, kept[0]), k
        want = torch.softmax(torch.where(kept[0], cond[0, 0].double(), -INF), -1)
        torch.testing.assert_close(p.double(), want, rtol=1e-6, atol=0)


def test_top_k_off_and_beyond(backend: str) -> None:
    cond = logits(1, 2, 50)
    plain = process_logits(cond, backend=backend)
    for k in (0, -1, -(2**62), 50, 51, 2**62):
        got = process_logits(cond, top_k=k, backend=backend)
        assert all(torch.equal(a, b) for a, b in zip(got, plain, strict=True)), k
    one = process_logits(cond, top_k=1, backend=backend)
    assert torch.equal(one[1], cond.argmax(-1))
    assert (one[0].amax(-1) == 1).all()


def test_top_k_counts_zero_signs_as_equal(backend: str) -> None:
    cond = torch.tensor([[[-0.0, 0.0, -1.0, -0.0]]])
    assert process_logits(cond, top_k=1, backend=backend)[0][0, 0].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])


def test_top_k_larger_than_what_is_left(backend: str) -> None:
    """k = 5 with three ids that are not masked: those three, not an id of weight 0."""
    cond = torch.full((1, 1, 40), -INF)
    cond[0, 0, [3, 17, 30]] = torch.tensor([0.0, 1.0, 2.0])
    p, fresh, status = process_logits(cond, top_k=5, top_p=0.9999, seed=1, backend=backend)
    assert (p[0, 0] > 0).nonzero()[:, 0].tolist() == [3, 17, 30]
    assert status.item() == 0


@pytest.mark.parametrize("V", [4, 64, 1024, 4096])
def test_top_p_thresholds_hit_exactly(backend: str, V: int) -> None:
    """V equal logits: top_p = i/V keeps exactly the first i ids, and a little more keeps one more."""
    cond = torch.zeros(1, 1, V)
    for i in {1, 2, V // 4, V // 2, V // 2 + 1, V - 1}:
        p = process_logits(cond, top_p=i / V, backend=backend)[0][0, 0]
        assert (p > 0).nonzero()[:, 0].tolist() == list(range(i)), i
        assert torch.equal(p[:i], torch.full((i,), 1.0) / i)
        above = torch.nextafter(torch.tensor(i / V), torch.tensor(2.0))[None]
        kept = process_logits(cond, top_p=above, backend=backend)[0][0, 0] > 0
        assert int(kept.sum()) == i + 1, i
        assert kept[: i + 1].all(), i


def test_top_p_order_is_weight_then_id(backend: str) -> None:
    """Ties at the boundary go to the lowest ids, wherever they stand."""
    cond = torch.tensor([[[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]]])
    for top_p, kept in ((0.2, [1]), (0.45, [1, 3]), (0.72, [1, 3, 5]), (0.75, [0, 1, 3, 5]), (0.9, [0, 1, 2, 3, 5])):
        p = process_logits(cond, top_p=top_p, backend=backend)[0][0, 0]
        assert (p > 0).nonzero()[:, 0].tolist() == kept, top_p


def test_top_p_ends(backend: str) -> None:
    cond = logits(1, 3, 100)
    plain = process_logits(cond, backend=backend)[0]
    ends = torch.tensor([1.0, 2.0, INF, NAN])
    for value in ends:
        assert torch.equal(process_logits(cond, top_p=value[None], backend=backend)[0], plain), value
    for value in (0.0, -1.0, 1e-30, 1e-45, -INF):
        p = process_logits(cond, top_p=torch.tensor([value]), backend=backend)[0]
        assert torch.equal(p.argmax(-1), cond.argmax(-1)), value
        assert (p.sum(-1) == 1).all(), value
        assert (p > 0).sum() == 3, value
    almost = torch.tensor([1 - UNIT])
    assert (process_logits(torch.zeros(1, 1, 8192), top_p=almost, backend=backend)[0] > 0).all()


def test_top_p_acts_on_what_top_k_left(backend: str) -> None:
    """k = 2 of (4, 2, 1, 1)/8 leaves (2/3, 1/3): top_p = 0.6 keeps one id, where 0.6 of the whole law would keep
    two."""
    cond = torch.tensor([[[4.0, 2.0, 1.0, 1.0]]]).log()
    assert (process_logits(cond, top_p=0.6, backend=backend)[0] > 0).sum() == 2
    assert (process_logits(cond, top_k=2, top_p=0.6, backend=backend)[0] > 0).sum() == 1


# temperature


def test_temperature_zero_is_argmax(backend: str) -> None:
    """Lowest id among ties, at 0, -0, negative and NaN temperatures of the raw tensor; other images keep theirs."""
    cond = torch.tensor([[[1.0, 3.0, 3.0, 2.0], [-0.0, 0.0, -1.0, -1.0]]]).repeat(6, 1, 1)
    temperature = torch.tensor([0.0, -0.0, -1.0, NAN, 1.0, INF])
    p, fresh, status = process_logits(cond, temperature=temperature, top_k=2, top_p=0.5, backend=backend)
    assert fresh[:4].tolist() == [[1, 0]] * 4
    assert (status == 0).all()
    assert (p[:4, 0, 1] == 1).all()
    assert (p[:4, 1, 0] == 1).all()
    assert (p[:4].sum(-1) == 1).all()


@pytest.mark.parametrize("V", [3, 8, 1001])
def test_infinite_temperature_is_flat(backend: str, V: int) -> None:
    """Every score is 0 then, and a masked id stays masked (-inf / inf would be NaN); also where V is no full vector."""
    cond = torch.randn(1, 1, V)
    cond[..., 1] = -INF
    want = torch.full((V,), 1 / (V - 1))
    want[1] = 0
    for uncond in (None, torch.zeros_like(cond)):
        p, _, status = process_logits(cond, uncond, temperature=INF, backend=backend)
        assert status.item() == 0
        torch.testing.assert_close(p[0, 0], want)


def test_tiny_and_huge_temperatures(backend: str) -> None:
    cond = logits(1, 2, 200)
    cold = process_logits(cond, temperature=1e-30, backend=backend)
    assert torch.equal(cold[1], cond.argmax(-1))
    assert (cold[2] == 0).all()
    assert not cold[0].isnan().any()
    hot = process_logits(cond, temperature=1e30, backend=backend)[0]
    torch.testing.assert_close(hot, torch.full_like(hot, 1 / 200))
    overflow = process_logits(cond, temperature=1e-45, backend=backend)
    assert (overflow[2] == 2).all()
    assert not overflow[0].isnan().any()


# masks and broken rows


def test_minus_infinity_in_either_row_masks(backend: str) -> None:
    """-inf - -inf and u + g (c - u) with one of them infinite would be NaN or +inf; the id is simply out."""
    V = 300
    cond, uncond = logits(3, 2, V, seed=1), logits(3, 2, V, seed=2)
    cond[..., :100] = -INF
    uncond[..., 50:150] = -INF
    for scale in (torch.tensor([3.0, 0.0, -2.0]), None):
        p, fresh, status = process_logits(cond, uncond, scale, backend=backend)
        assert (status == 0).all()
        assert (p[..., :150] == 0).all()
        assert (fresh >= 150).all()
        for b in range(3):
            exact = law64(cond[b, :, 150:], uncond[b, :, 150:], 1.0 if scale is None else scale[b].item())
            torch.testing.assert_close(p[b, :, 150:].double(), exact, rtol=2e-5, atol=1e-9)


BROKEN: list[tuple[str, Callable[[Tensor], Any], int, int]] = [
    ("one NaN", lambda row: row.__setitem__(7, NAN), 1, 0),
    ("all NaN", lambda row: row.fill_(NAN), 1, 0),
    ("one +inf", lambda row: row.__setitem__(7, INF), 2, 0),
    ("NaN and +inf", lambda row: (row.__setitem__(7, INF), row.__setitem__(9, NAN)), 3, 0),
    ("all -inf", lambda row: row.fill_(-INF), 4, 0),
    ("-inf below 5, then NaN", lambda row: (row[:5].fill_(-INF), row[5:].fill_(NAN)), 1, 5),
    ("-inf but for the last id, which is +inf", lambda row: (row.fill_(-INF), row[-1:].fill_(INF)), 2, -1),
]


@pytest.mark.parametrize("V", [13, 1000, 65536])
@pytest.mark.parametrize(("what", "spoil", "bits", "winner"), BROKEN, ids=[name for name, *_ in BROKEN])
def test_broken_rows(backend: str, V: int, what: str, spoil: Callable[[Tensor], Any], bits: int, winner: int) -> None:
    """B10. Status says what is wrong, p is one-hot at the lowest id that is not masked, the rows beside it keep their
    bits."""
    cond = logits(2, 3, V)
    options = {"top_k": V // 2, "top_p": 0.9, "temperature": 0.8, "seed": 5}
    for extra in ({}, options, options | {"temperature": 0}):
        healthy = process_logits(cond, **extra, backend=backend)
        broken = cond.clone()
        spoil(broken[1, 1])
        p, fresh, status = process_logits(broken, **extra, backend=backend)
        at = winner % V
        assert status[1, 1] == bits, what
        assert fresh[1, 1] == at, what
        assert torch.equal(p[1, 1], torch.nn.functional.one_hot(torch.tensor(at), V).float())
        beside = torch.ones(2, 3, dtype=torch.bool)
        beside[1, 1] = False
        for got, want in zip((p, fresh, status), healthy, strict=True):
            assert torch.equal(got[beside], want[beside])


def test_overflow_from_guidance_is_flagged(backend: str) -> None:
    """c - u, g (c - u), u + g (c - u) each beyond float32; NaN where g = 0 meets an infinite difference."""
    big = 3e38
    cond = torch.tensor([[[big, 0.0, 0.0]]]).repeat(4, 1, 1)
    uncond = torch.tensor([[[-big, 0.0, 0.0]]]).repeat(4, 1, 1)
    uncond[1] = 0.0
    guidance = torch.tensor([1.0, 1e3, 0.0, 1.0])
    cond[3, 0, 0], uncond[3, 0, 0] = -big, big  # overflows to -inf: masked, not flagged
    p, fresh, status = process_logits(cond, uncond, guidance, backend=backend)
    assert status[:, 0].tolist() == [2, 2, 1, 0]
    assert fresh[:3, 0].tolist() == [0, 0, 0]
    assert p[3, 0, 0] == 0
    assert not p.isnan().any()
    assert (p.sum(-1) == 1).all()


def test_infinite_and_nan_scalars_per_image(backend: str) -> None:
    """Raw tensors may hold anything: never NaN in p, ids in range, neighbours untouched."""
    cond, uncond = logits(3, 2, 64, seed=1), logits(3, 2, 64, seed=2)
    base = {"guidance": torch.full((3,), 2.0), "temperature": torch.ones(3), "top_p": torch.full((3,), 0.9)}
    healthy = process_logits(cond, uncond, **base, backend=backend)
    for name in base:
        for value in (NAN, INF, -INF, 0.0, -0.0, 1e-45, 3e38):
            odd = base | {name: base[name].clone()}
            odd[name][1] = value
            p, fresh, status = process_logits(cond, uncond, **odd, backend=backend)
            assert not p.isnan().any(), (name, value)
            assert ((fresh >= 0) & (fresh < 64)).all(), (name, value)
            assert ((p[1].sum(-1) - 1).abs() < 1e-5).all(), (name, value)
            for got, want in zip((p, fresh, status), healthy, strict=True):
                assert torch.equal(got[::2], want[::2]), (name, value)


# forced slots, done images, sizes


def test_forced_slots_are_not_read(backend: str) -> None:
    cond = logits(2, 4, 50)
    plain = process_logits(cond, backend=backend)
    forced = torch.tensor([[-1, 50, -1, 0], [51, -1, -(2**63), 2**62]])
    cond[forced >= 0] = NAN
    p, fresh, status = process_logits(cond, forced=forced, backend=backend)
    free = forced < 0
    assert torch.equal(fresh[~free], forced[~free])
    assert (p[~free] == 0).all()
    assert (status == 0).all()
    assert torch.equal(p[free], plain[0][free])
    assert torch.equal(fresh[free], plain[1][free])


def test_done_images_are_left_out(backend: str) -> None:
    cond = logits(3, 2, 50)
    plain = process_logits(cond, backend=backend)
    cond[1] = NAN
    forced = torch.full((3, 2), -1)
    forced[1, 0] = 7
    p, fresh, status = process_logits(
        cond, forced=forced, done=torch.tensor([0, 1, 0], dtype=torch.int32), backend=backend
    )
    assert (p[1] == 0).all()
    assert (fresh[1] == -1).all()
    assert (status[1] == 0).all()
    assert torch.equal(p[::2], plain[0][::2])
    assert torch.equal(fresh[::2], plain[1][::2])


def test_one_id(backend: str) -> None:
    p, fresh, status = process_logits(
        torch.tensor([[[5.0], [-INF], [NAN]]]), top_k=1, top_p=0.5, temperature=0.1, backend=backend
    )
    assert p.tolist() == [[[1.0]] * 3]
    assert fresh.tolist() == [[0] * 3]
    assert status.tolist() == [[0, 4, 1]]


def test_empty_sizes(backend: str) -> None:
    for B, L in ((0, 3), (2, 0), (0, 0)):
        p, fresh, status = process_logits(torch.ones(B, L, 5), top_k=2, backend=backend)
        assert p.shape == (B, L, 5)
        assert fresh.shape == (B, L) == status.shape
