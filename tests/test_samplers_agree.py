"""Rung L3: reference and native samplers give the same bits, over shapes, types, strides and optional arguments of all
kinds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _live import live
from _sampler_cases import LAYOUTS, as_tensors, logits_case, verify_case
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sjd2_kernels import process_logits, verify_accept

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
OTHERS = [name for name in live("process_logits") if name != "reference"]
SIZES = st.one_of(
    st.integers(1, 40), st.sampled_from([63, 64, 65, 127, 128, 129, 255, 257, 511, 513, 1000, 1023, 1025])
)


def assert_same(names: tuple[str, ...], got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> None:
    for name, a, b in zip(names, got, want, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.is_contiguous()
        assert b.is_contiguous()
        assert torch.equal(a, b), f"{name} differs first at {(a != b).nonzero()[0].tolist()}"


def check_process_logits(case: dict[str, Tensor]) -> None:
    want = process_logits(**case, backend="reference")
    for backend in OTHERS:
        assert_same(("p", "fresh", "status"), process_logits(**case, backend=backend), want)


@settings(max_examples=150)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(0, 5), SIZES, st.sampled_from(DTYPES),
    st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=11, max_size=11),
)  # fmt: skip
def test_process_logits(seed: int, B: int, L: int, V: int, dtype: torch.dtype, layouts: list[str]) -> None:
    case = logits_case(np.random.default_rng(seed), B, L, V, dtype)
    check_process_logits({k: LAYOUTS[way](v) for way, (k, v) in zip(layouts, case.items(), strict=False)})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "V", "calls"),
    [(64, 999, 2), (16, 4096, 2), (8, 8192, 2), (4, 16391, 2), (2, 32768, 2), (1, 65536, 3), (1, 184622, 1)],
)
def test_process_logits_at_real_sizes(rows: int, V: int, calls: int, dtype: torch.dtype) -> None:
    random = np.random.default_rng(V)
    for _ in range(calls):
        check_process_logits(logits_case(random, rows, 1, V, dtype))


@pytest.mark.parametrize("V", [4097, 16384, 40007])
def test_top_k_of_every_size_and_shape_of_score(V: int) -> None:
    """B12. Mixed k in one call, over laws that defeat a sampled pivot: sorted, reversed, two-valued, spiked,
    constant."""
    ramp = torch.arange(V, dtype=torch.float32)
    spikes = torch.zeros(V)
    spikes[torch.randperm(V, generator=torch.Generator().manual_seed(1))[:37]] = 5.0
    kinds = [
        ramp / V,
        -ramp / V,
        (ramp % 2),
        spikes,
        torch.zeros(V),
        (ramp % 97),
        torch.where(ramp < 3, 9.0, -ramp / V),
    ]
    k = [1, 2, 36, 37, 38, 2000, V - 1, 0]
    cond = torch.stack([kind.expand(len(k), V) for kind in kinds], 1)
    for top_p in (None, torch.full((len(k),), 0.9)):
        check_process_logits({"cond": cond, "top_k": torch.tensor(k), **({} if top_p is None else {"top_p": top_p})})


@settings(max_examples=120)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(0, 8), SIZES,
    st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=12, max_size=12),
)  # fmt: skip
def test_verify_accept(seed: int, B: int, L: int, V: int, layouts: list[str]) -> None:
    case = as_tensors(verify_case(np.random.default_rng(seed), B, L, V))
    case = {
        k: LAYOUTS[way](v) if isinstance(v, Tensor) else v for way, (k, v) in zip(layouts, case.items(), strict=False)
    }
    want = verify_accept(**case, backend="reference")
    for backend in OTHERS:
        assert_same(("accept_len", "tokens", "ratio"), verify_accept(**case, backend=backend), want)
