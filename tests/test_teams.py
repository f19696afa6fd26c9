"""Rung L3 without a GPU: the CUDA kernels' algorithms, played phase by phase, give the bits of the native kernels.

Teams of one to eight blocks and of odd numbers of threads, members in three orders (what depends on the order would be
a data race on the device), cells in blocks and parked in p, poisoned memory.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _live import live
from _sampler_cases import LAYOUTS, as_tensors, logits_case, verify_case
from _teams import HEAD_START, ORDERS, play_process_logits, play_verify_accept
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sjd2_kernels import native, process_logits, verify_accept

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SIZES = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 127, 129, 257, 511, 513, 1000, 1023, 1025, 4097]))
TEAMS = st.tuples(st.sampled_from([1, 2, 3, 8]), st.sampled_from([1, 7, 32, 128]), st.sampled_from(ORDERS))

pytestmark = pytest.mark.parametrize("backend", [name for name in live("process_logits") if name == "native"])


def assert_same(got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> None:
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert torch.equal(a, b), f"output {i} differs first at {(a != b).nonzero()[0].tolist()}"


def check(case: dict[str, Tensor], team: tuple[int, int, int], parked: bool = False, start: float = HEAD_START) -> None:
    assert_same(play_process_logits(case, *team, parked, start), process_logits(**case, backend="native"))


@settings(max_examples=200)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(0, 4), SIZES, st.sampled_from(DTYPES), TEAMS,
    st.booleans(), st.sampled_from([HEAD_START, 0.5]), st.sampled_from(["contiguous", "padded", "stepped", "offset"]),
)  # fmt: skip
def test_process_logits(
    backend: str, seed: int, B: int, L: int, V: int, dtype: torch.dtype, team: tuple[int, int, int], parked: bool,
    start: float, layout: str,
) -> None:  # fmt: skip
    """All optional arguments, ties, masks, NaN; a head start of 0.5 makes the second race common."""
    case = logits_case(np.random.default_rng(seed), B, L, V, dtype)
    check({name: LAYOUTS[layout](value) for name, value in case.items()}, team, parked, start)


@pytest.mark.parametrize(
    ("V", "ranks", "threads", "parked"),
    [(8192, 1, 1024, False), (32768, 1, 1024, False), (65536, 2, 1024, False), (65536, 1, 1024, True),
     (184622, 4, 1024, False)],
)  # fmt: skip
@pytest.mark.parametrize("order", ORDERS)
def test_process_logits_at_real_sizes(backend: str, V: int, ranks: int, threads: int, parked: bool, order: int) -> None:
    """The launch plans of real vocabularies, on rows that keep many, few and equal ids."""
    random = np.random.default_rng([V, order])
    for share in (0.4, 1.0):
        case = logits_case(random, 3, 1, V, DTYPES[order], share)
        case.pop("done", None)
        check(case, (ranks, threads, order), parked)


@pytest.mark.parametrize("kind", ["constant", "two values", "ramp", "few finite"])
@pytest.mark.parametrize("order", ORDERS)
def test_ties_at_every_cut(backend: str, kind: str, order: int) -> None:
    """top-k keeps all ties, top-p the first of them by id, wherever blocks and threads divide the row."""
    V, ids = 1030, torch.arange(1030.0)
    row = {
        "constant": torch.full((V,), -0.0),
        "two values": ids % 2,
        "ramp": ids / 100,
        "few finite": torch.where(ids % 300 == 7, ids, -torch.inf),
    }[kind]
    top_k = torch.tensor([1, 2, 3, 4, 5, 514, 515, 516, 1029, 0])
    case = {"cond": row.expand(len(top_k), 1, V), "top_k": top_k}
    check(case, (3, 32, order))
    for top_p in (0.0, 1e-4, 0.25, 0.5, 0.50001, 0.75, 0.999999):
        check(case | {"top_p": torch.full((len(top_k),), top_p)}, (3, 32, order), parked=bool(order % 2))


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(0, 9), SIZES, TEAMS, st.sampled_from(sorted(LAYOUTS)))
def test_verify_accept(
    backend: str, seed: int, B: int, L: int, V: int, team: tuple[int, int, int], layout: str
) -> None:
    case = as_tensors(verify_case(np.random.default_rng(seed), B, L, V))
    case = {name: LAYOUTS[layout](value) if isinstance(value, Tensor) else value for name, value in case.items()}
    assert_same(play_verify_accept(case, *team), verify_accept(**case, backend="native"))


@pytest.mark.parametrize("V", [8192, 65537])
@pytest.mark.parametrize("order", ORDERS)
def test_verify_accept_at_real_sizes(backend: str, V: int, order: int) -> None:
    case = as_tensors(verify_case(np.random.default_rng(V + order), 2, 3, V))
    ranks, threads, _, _ = native.module().plan_verify_accept(V, 227 * 1024, True)
    assert_same(play_verify_accept(case, ranks, threads, order), verify_accept(**case, backend="native"))


KIB = 1024
FIXED = 17 * KIB + 64  # what the kernel holds beside the cells


@pytest.mark.parametrize(
    ("V", "shared", "clusters", "plan"),
    [
        (1, 227 * KIB, True, (1, 128, 4, False)),
        (8192, 227 * KIB, True, (1, 1024, 8192, False)),
        (32768, 227 * KIB, True, (1, 1024, 32768, False)),
        (49152, 227 * KIB, True, (1, 1024, 49152, False)),
        (49153, 227 * KIB, True, (2, 1024, 24580, False)),
        (65536, 227 * KIB, True, (2, 1024, 32768, False)),
        (184622, 227 * KIB, True, (4, 1024, 46156, False)),
        (400000, 227 * KIB, True, (1, 1024, 400000, True)),
        (32768, 163 * KIB, False, (1, 1024, 32768, False)),  # 8.0
        (49152, 163 * KIB, False, (1, 1024, 49152, True)),
        (32768, 99 * KIB, False, (1, 1024, 32768, True)),  # 8.6, 8.9
        (16384, 99 * KIB, False, (1, 1024, 16384, False)),
    ],
)
def test_plan_of_process_logits(
    backend: str, V: int, shared: int, clusters: bool, plan: tuple[int, int, int, bool]
) -> None:
    assert native.module().plan_process_logits(V, shared, clusters, FIXED) == plan


@pytest.mark.parametrize(
    ("V", "clusters", "plan"),
    [(8191, True, (1, 512, 8192, False)), (8192, True, (2, 512, 4096, False)), (65536, True, (8, 512, 8192, False)),
     (65536, False, (1, 512, 65536, False)), (100, True, (1, 128, 100, False))],
)  # fmt: skip
def test_plan_of_verify_accept(backend: str, V: int, clusters: bool, plan: tuple[int, int, int, bool]) -> None:
    assert native.module().plan_verify_accept(V, 227 * KIB, clusters) == plan
