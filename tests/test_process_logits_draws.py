"""The draw of process_logits: its law, its coupling, its bits, and that nothing but (seed, position, epoch, logits)
enters."""

from __future__ import annotations

from typing import Any

import _oracle as oracle
import numpy as np
import pytest
import torch
from _live import live, on_backends
from _sampler_cases import LAYOUTS, logits_case
from scipy import stats
from torch import Tensor

from sjd2_kernels import process_logits

pytestmark = on_backends("process_logits")
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def assert_equal(got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> None:
    for name, a, b in zip(("p", "fresh", "status"), got, want, strict=True):
        assert torch.equal(a, b), f"{name} differs first at {(a != b).nonzero()[0].tolist()}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "process",
    [{}, {"temperature": 0.8, "top_k": 12, "top_p": 0.9}, {"guidance": 2.0, "top_k": 9}],
    ids=["plain", "top", "guided"],
)
def test_draws_have_the_law_that_is_returned(backend: str, dtype: torch.dtype, process: dict[str, Any]) -> None:
    """B1. Histogram of the draws against p of the same call, for every type: chi-square p > 1e-4, and never an id with
    p = 0.

    2^16 draws (2^12 on backends but the first, whose draws have the same bits). Power: a law at a chi-square distance
    of sum (p' - p)^2 / p = 0.0013, a total variation of 0.018 at most, is found with probability 0.99.
    """
    B = 2**16 if backend == live("process_logits")[0] else 2**12
    random = torch.Generator().manual_seed(11)
    cond, uncond = torch.randn(2, 1, 1, 24, generator=random).to(dtype).expand(2, B, 1, 24)
    p, fresh, _ = process_logits(
        cond, uncond if "guidance" in process else None, **process, seed=torch.arange(B), backend=backend
    )
    law = p[0, 0].double().numpy()
    count = np.bincount(fresh[:, 0].numpy(), minlength=24)
    assert torch.equal(p, p[:1].expand_as(p))
    assert count[law == 0].sum() == 0
    kept = law * B >= 5
    count, expected = np.append(count[kept], count[~kept].sum()), B * np.append(law[kept], law[~kept].sum())
    count, expected = count[expected > 0], expected[expected > 0]
    assert stats.chi2.sf(((count - expected) ** 2 / expected).sum(), len(count) - 1) > 1e-4


@pytest.mark.parametrize("varied", ["seed", "pos", "epoch"])
def test_draws_are_independent_over_what_varies(backend: str, varied: str) -> None:
    """Neighbouring seeds, positions, epochs and slots: consecutive draws fill an 8 x 8 table as independent ones do, p
    > 1e-4."""
    B = 2**14
    given = {"seed": 3, "pos": 0, "epoch": 0} | {varied: 8 * torch.arange(B)}
    fresh = process_logits(torch.zeros(B, 2, 8), **given, backend=backend)[1]
    for first, second in ((fresh[:, 0], fresh[:, 1]), (fresh[:-1, 0], fresh[1:, 0])):
        table = torch.bincount(8 * first + second, minlength=64).double()
        assert stats.chisquare(table.numpy()).pvalue > 1e-4


def test_coupling_is_gumbel_max(backend: str) -> None:
    """The draw is argmax(log p + G) with G = -log(-log1p(-u)) in float64, wherever the two best differ by more than
    1e-5."""
    B, L, V = 60, 4, 500
    cond = 3 * torch.randn(B, L, V, generator=torch.Generator().manual_seed(12))
    seed = torch.arange(B) * 7919 - 500000
    p, fresh, _ = process_logits(cond, top_k=200, seed=seed, pos=77, epoch=5, backend=backend)
    word = np.array([[oracle.words(int(s), 77 + j, oracle.DRAFT, 5, V) for j in range(L)] for s in seed])
    u = np.minimum((word + 0.5) * 2.0**-32, 1 - 2.0**-24)
    with np.errstate(divide="ignore"):
        value = np.log(p.double().numpy()) - np.log(-np.log1p(-u))
    best = np.sort(value, -1)
    clear = best[..., -1] - best[..., -2] > 1e-5
    assert clear.mean() > 0.99
    assert (fresh.numpy() == value.argmax(-1))[clear].all()


def test_the_same_noise_keeps_most_draws(backend: str) -> None:
    """Coupling: after a small change of the logits the same (seed, pos, epoch) gives mostly the same id, another epoch
    does not."""
    B, V = 2000, 64
    random = torch.Generator().manual_seed(13)
    cond = torch.randn(B, 1, V, generator=random)
    near = cond + 0.05 * torch.randn(B, 1, V, generator=random)
    seed = torch.arange(B)
    first = process_logits(cond, seed=seed, backend=backend)[1]
    assert (process_logits(near, seed=seed, backend=backend)[1] == first).float().mean() > 0.93
    assert (process_logits(near, seed=seed, epoch=1, backend=backend)[1] == first).float().mean() < 0.15


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("V", "calls"), [(1, 2), (2, 4), (7, 6), (33, 8), (999, 3), (4097, 1)])
def test_replayed_draws(backend: str, V: int, calls: int, dtype: torch.dtype) -> None:
    """p, fresh and status equal those of a restatement that shares no line with them (tests/_oracle.py), bit for
    bit."""
    random = np.random.default_rng(V)
    for _ in range(calls):
        case = logits_case(random, 6 if V > 900 else 16, 2, V, dtype)
        p, fresh, status = process_logits(**case, backend=backend)
        rows = {"cond": case["cond"].double(), "uncond": case["uncond"].double() if "uncond" in case else None}
        for b in range(p.shape[0]):
            scalars = {k: v[b].item() for k, v in case.items() if k not in ("cond", "uncond", "forced", "done", "pos")}
            for j in range(p.shape[1]):
                if "done" in case and case["done"][b]:
                    want = np.zeros(V), -1, 0
                elif "forced" in case and case["forced"][b, j] >= 0:
                    want = np.zeros(V), int(case["forced"][b, j]), 0
                else:
                    pos = int(case["pos"][b]) + j if "pos" in case else j
                    row = {k: None if v is None else v[b, j].numpy() for k, v in rows.items()}
                    want = oracle.process_row(**row, **scalars, pos=pos)
                at = (b, j, dict(scalars.items()))
                assert (fresh[b, j], status[b, j]) == want[1:], at
                assert (p[b, j].numpy() == want[0]).all(), at


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_composition_changes_nothing(backend: str, dtype: torch.dtype) -> None:
    """B6, B7, B13, B14. Permuted, split, padded, doubled, slot by slot and again: the same bits, with many ties and
    mixed k."""
    B, L = 17, 3
    random = np.random.default_rng(14)
    a = logits_case(random, B, L, 1030, dtype, share=1.0)

    def call(rows: Any, slots: slice = slice(None), shift: int = 0) -> tuple[Tensor, ...]:
        part = {k: v[rows][:, slots] if v.dim() > 1 else v[rows] for k, v in a.items()}
        return process_logits(**(part | {"pos": part["pos"] + shift}), backend=backend)

    whole = call(slice(None))
    for _ in range(3):
        assert_equal(call(slice(None)), whole)
    order = torch.randperm(B, generator=torch.Generator().manual_seed(6))
    assert_equal(call(order), tuple(x[order] for x in whole))
    assert_equal(call(torch.arange(B).repeat(3)), tuple(x.repeat(3, *[1] * (x.dim() - 1)) for x in whole))
    parts = [call(slice(b, b + 1)) for b in range(B)]
    assert_equal(tuple(torch.cat(x) for x in zip(*parts, strict=True)), whole)
    parts = [call(slice(None), slice(j, j + 1), j) for j in range(L)]
    assert_equal(tuple(torch.cat(x, 1) for x in zip(*parts, strict=True)), whole)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts(backend: str, dtype: torch.dtype) -> None:
    """B21, B30. The same values sliced from a wider head with garbage in its padding, transposed, stepped, at an odd
    offset."""
    random = np.random.default_rng(15)
    for V in (5, 64, 1001):
        case = logits_case(random, 6, 3, V, dtype)
        want = process_logits(**case, backend=backend)
        for name, layout in LAYOUTS.items():
            moved = {k: layout(v) for k, v in case.items()}
            assert all(torch.equal(moved[k].nan_to_num(), case[k].nan_to_num()) for k in case), name
            assert_equal(process_logits(**moved, backend=backend), want)


def test_expanded_arguments(backend: str) -> None:
    """Stride 0 over images and over slots, as `expand` makes it."""
    cond = torch.randn(1, 1, 77, generator=torch.Generator().manual_seed(1))
    for shape in ((4, 1, 77), (1, 5, 77), (4, 5, 77)):
        wide, seed = cond.expand(shape), torch.tensor([8]).expand(shape[0])
        assert_equal(
            process_logits(wide, wide, 2.0, 0.9, 20, seed=seed, backend=backend),
            process_logits(wide.contiguous(), wide.contiguous(), 2.0, 0.9, 20, seed=seed.contiguous(), backend=backend),
        )
    column = torch.randn(3, 2, 1, generator=torch.Generator().manual_seed(2)).expand(3, 2, 33)
    assert_equal(
        process_logits(column, seed=1, backend=backend), process_logits(column.contiguous(), seed=1, backend=backend)
    )


def test_inputs_are_not_changed_and_outputs_are_new(backend: str) -> None:
    """B29. Also where every step is a no-op and p could be built in place."""
    random = np.random.default_rng(16)
    for dtype in DTYPES:
        case = logits_case(random, 4, 2, 300, dtype)
        before = {k: v.clone() for k, v in case.items()}
        outputs = process_logits(**case, backend=backend)
        assert all(torch.equal(case[k].nan_to_num(), before[k].nan_to_num()) for k in case)
        assert not {x.data_ptr() for x in outputs} & {v.data_ptr() for v in case.values()}
        assert all(x.is_contiguous() for x in outputs)
