"""verify_accept in Triton gives the bits of the native kernel (rung L3): options, odd sizes, rows in parts, strides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from _sampler_cases import LAYOUTS, OPTIONS, as_tensors, verify_case
from _triton import check, far_apart
from torch import Tensor

from sjd2_kernels import verify_accept as public
from sjd2_kernels.triton import verify_accept as kernels


def agree(arguments: dict[str, Any], **kwargs: Any) -> tuple[Tensor, ...]:
    return check(public, ("accept_len", "tokens", "ratio"), arguments, **kwargs)


@pytest.mark.parametrize("V", [1, 2, 31, 999, 1500])
def test_random_calls(V: int) -> None:
    """Optional arguments there or not, drafts of all sorts, seeds and positions at the ends of their range."""
    random = np.random.default_rng(V)
    for _ in range(4):
        agree(as_tensors(verify_case(random, 3, 3, V)))


@pytest.mark.parametrize(
    ("accept", "redraw", "with_fresh"), [(*o, f) for o in OPTIONS for f in (False, True) if f or o[0] != "match"]
)
def test_every_option(accept: str, redraw: str, with_fresh: bool) -> None:
    random = np.random.default_rng(8)
    case = as_tensors(verify_case(random, 6, 4, 50)) | {"accept": accept, "redraw": redraw}
    case.pop("fresh", None)
    agree(case | ({"fresh": torch.from_numpy(random.integers(0, 50, (6, 4)))} if with_fresh else {}))


@pytest.mark.parametrize("redraw", ["fresh", "couple"])
@pytest.mark.parametrize("V", [64, 65, 600])
def test_rows_in_parts(V: int, redraw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One part, a part of one id, ten parts: the same winner."""
    monkeypatch.setattr(kernels, "PART", 64)
    case = verify_case(np.random.default_rng(V), 3, 3, V) | {"accept": "ratio", "redraw": redraw}
    agree(as_tensors(case))


def certain(p: Tensor, q: Tensor, draft: int, **options: Any) -> list[list[int]]:
    """The tokens of two windows of one slot that hold the same draft."""
    rows = {"p": p.expand(2, 1, -1), "q": q.expand(2, 1, -1), "draft": torch.full((2, 1), draft)}
    where = {"seed": torch.tensor([5, 6]), "pos": torch.tensor([0, 9])}
    return agree(rows | where | options)[1].tolist()


def test_ties_go_to_the_lowest_id_of_the_first_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Denormal weights alone: every time is the largest float."""
    monkeypatch.setattr(kernels, "PART", 64)
    p, q = torch.zeros(300), torch.zeros(300)
    p[[100, 101, 250]] = 1e-45
    q[7] = 1.0
    assert certain(p, q, 7) == [[100], [100]]


def test_a_residual_in_another_part_than_the_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "PART", 64)
    p, q = torch.zeros(300), torch.zeros(300)
    p[299] = 1.0
    q[3] = 1.0
    assert certain(p, q, 3) == [[299], [299]]


def test_an_empty_residual_draws_from_p(monkeypatch: pytest.MonkeyPatch) -> None:
    """p <= q everywhere and the draft excluded by p: the race of p decides; both empty: id 0."""
    monkeypatch.setattr(kernels, "PART", 64)
    p, q = torch.zeros(130), torch.zeros(130)
    q[[5, 129]] = 0.5
    p[129] = 0.5
    assert certain(p, q, 5) == [[129], [129]]
    assert certain(0 * p, q, 5) == [[0], [0]]


@pytest.mark.parametrize("failing", [0, 3, 6, None])
def test_failure_at_every_place(failing: int | None) -> None:
    """Disjoint supports at one slot, p == q elsewhere; windows of a length that is no power of two."""
    B, L, V = 2, 7, 20
    p = torch.full((B, L, V), 1.0 / V)
    q = p.clone()
    if failing is not None:
        q[:, failing] = torch.eye(V)[4]
        p[:, failing, 4] = 0.0
    draft = torch.full((B, L), 4)
    accept_len, tokens, _ = agree({"draft": draft, "p": p, "q": q, "seed": torch.arange(B), "pos": torch.arange(B)})
    n = L if failing is None else failing
    assert accept_len.tolist() == [n, n]
    assert (tokens[:, :n] == 4).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(layout: str) -> None:
    """B21. The same values in other places."""
    random = np.random.default_rng(12)
    case = verify_case(random, 3, 2, 65) | {"accept": "ratio", "redraw": "keep"}
    case |= {"verifiable": random.random((3, 2)) < 0.8, "forced": np.full((3, 2), -1)}
    agree(as_tensors(case), layout=LAYOUTS[layout])


def test_offsets_beyond_32_bits() -> None:
    """B22. Images 2^31 elements apart."""
    case = as_tensors(verify_case(np.random.default_rng(13), 2, 2, 40) | {"accept": "ratio", "redraw": "couple"})

    def apart(x: Tensor) -> Tensor:
        return far_apart(tuple(x.shape), x.dtype, 2**31 + 8).copy_(x) if x.dim() == 3 else x

    agree(case, layout=apart)


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 0, 5)])
def test_no_slots(shape: tuple[int, int, int]) -> None:
    B, L, _ = shape
    p, zero = torch.zeros(shape), torch.zeros(B, dtype=torch.int64)
    agree({"draft": torch.zeros(B, L, dtype=torch.int64), "p": p, "q": p, "seed": zero, "pos": zero})
