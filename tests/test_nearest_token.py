"""nearest_token: against a float64 brute force with the margin that float32 sums deserve, exact ties, NaN, cosine."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _noise_cases import (
    REAL,
    assert_fake_matches,
    assert_same,
    generator,
    on_backends,
    opcheck,
    patterns,
    rows_of,
    sparse,
    strewn,
    threads,
)
from torch import Tensor

import sjd2_kernels

OP = torch.ops.sjd2.nearest_token
WHOLE = ("table", "bias")  # arguments without an axis of images
INF, NAN = float("inf"), float("nan")


def case(
    B: int = 3,
    L: int = 11,
    C: int = 37,
    V: int = 211,
    dtype: torch.dtype = torch.float32,
    state: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """Scattered drafts, one image done."""
    g = generator(B + 10 * L + 100 * C + V)
    draft = torch.randint(0, V, (B, L), generator=g)
    done = torch.zeros(B, dtype=torch.int32)
    done[1:2] = 1
    return {
        "state": torch.randn(B, L, C, generator=g, dtype=state),
        "table": torch.randn(V, C, generator=g).to(dtype),
        "bias": torch.randn(V, generator=g),
        "draft": torch.where(torch.rand(B, L, generator=g) < 0.4, draft, -1),
        "done": done,
    }


def check_margin(a: dict[str, Any], got: Tensor) -> None:
    """The chosen id's exact score is the best but for rounding: error <= (C + 2) u * sum of |products| on each side."""
    state, table, bias = (a[name].double() for name in ("state", *WHOLE))
    scores, sizes = state @ table.T + bias, state.abs() @ table.abs().T + bias.abs()
    wide = torch.float64 in (a["state"].dtype, a["table"].dtype)
    unit = torch.finfo(torch.float64 if wide else torch.float32).eps
    slack = (state.shape[-1] + 2) * unit * sizes.amax(-1)
    best, chosen = scores.amax(-1), scores.gather(-1, got.clamp(min=0)[..., None])[..., 0]
    draft, done = a.get("draft"), a.get("done")
    scored = torch.ones_like(got, dtype=torch.bool)
    if draft is not None:
        scored &= draft < 0
    if done is not None:
        scored &= (done == 0)[:, None]
    bad = scored & (chosen < best - 2 * slack)
    assert not bad.any(), f"slot {bad.nonzero()[0].tolist()}: id {got[bad][0]} is not the best by far"
    # where the margin is clear the id itself is determined
    clear = scored & (scores.topk(min(2, scores.shape[-1]), -1).values[..., -1] < best - 2 * slack)
    assert torch.equal(got[clear], scores.argmax(-1)[clear])
    expected = -torch.ones_like(got)
    if draft is not None:
        expected = draft
    if done is not None:
        expected = torch.where((done != 0)[:, None], -1, expected)
    assert torch.equal(got[~scored], expected[~scored])


@on_backends
@pytest.mark.parametrize("state", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", REAL)
def test_equals_brute_force(backend: str, dtype: torch.dtype, state: torch.dtype) -> None:
    for left_out in ((), ("draft",), ("done",), ("draft", "done")):
        a = {name: value for name, value in case(dtype=dtype, state=state).items() if name not in left_out}
        check_margin(a, sjd2_kernels.nearest_token(**a, backend=backend))


@on_backends
@pytest.mark.parametrize(
    ("B", "L", "C", "V"),
    [
        (1, 1, 1, 1), (1, 1, 3, 2), (2, 5, 0, 7), (1, 8, 255, 95), (1, 9, 256, 96), (1, 16, 257, 97),
        (2, 17, 513, 193), (4, 37, 19, 300), (5, 59, 64, 1000),
    ],
)  # fmt: skip
def test_odd_sizes(backend: str, B: int, L: int, C: int, V: int) -> None:
    """One less, equal and one more than the kernel's tiles, blocks, panels and groups."""
    a = case(B=B, L=L, C=C, V=V, dtype=torch.bfloat16) | {"draft": None, "done": None}
    check_margin(a, sjd2_kernels.nearest_token(**a, backend=backend))


@on_backends
@pytest.mark.parametrize(("B", "L"), [(0, 3), (3, 0), (0, 0)])
def test_no_slots(backend: str, B: int, L: int) -> None:
    """B19."""
    assert sjd2_kernels.nearest_token(**case(B=B, L=L), backend=backend).shape == (B, L)


@on_backends
@pytest.mark.parametrize("dtype", REAL)
def test_ties_go_to_the_lowest_id(backend: str, dtype: torch.dtype) -> None:
    """Small integers: every sum is exact in any order and most maxima are shared, also by rows of other blocks."""
    g = generator(3)
    B, L, C, V = 2, 40, 12, 500
    state = torch.randint(-1, 2, (B, L, C), generator=g).float()
    table = torch.randint(-1, 2, (V, C), generator=g)
    bias = torch.randint(-1, 2, (V,), generator=g).float()
    table[250:], bias[250:] = table[:250].clone(), bias[:250].clone()
    scores = state.long() @ table.T + bias.long()
    first = (scores == scores.amax(-1, keepdim=True)).int().argmax(-1)
    assert ((scores == scores.amax(-1, keepdim=True)).sum(-1) > 2).any()
    got = sjd2_kernels.nearest_token(state, table.to(dtype), bias, backend=backend)
    assert torch.equal(got, first)


@on_backends
@pytest.mark.parametrize("C", [1, 300])
def test_nan_never_wins(backend: str, C: int) -> None:
    """B10: not against -inf either, wherever it stands; 0 if there is nothing else. The id is always inside 0..V-1."""
    V = 200
    table, state = torch.zeros(V, C), torch.zeros(1, 3, C)

    def winner(**scores: float) -> list[int]:
        bias = torch.full((V,), scores.pop("rest"))
        for place, score in scores.items():
            bias[int(place[1:])] = score
        return sjd2_kernels.nearest_token(state, table, bias, backend=backend).unique().tolist()

    assert winner(rest=NAN) == [0]
    assert winner(rest=-INF) == [0]
    assert winner(rest=NAN, _150=-INF) == [150]
    assert winner(rest=-INF, _0=NAN) == [1]
    assert winner(rest=1.0, _0=NAN, _7=2.0, _8=NAN, _199=2.0) == [7]
    assert winner(rest=NAN, _199=-1.0) == [199]
    assert winner(rest=0.0, _130=INF, _3=NAN) == [130]


@on_backends
def test_nan_state_gives_an_id_and_stays_in_its_slot(backend: str) -> None:
    a = case() | {"draft": None}
    clean = sjd2_kernels.nearest_token(**a, backend=backend)
    state = a["state"].clone()
    state[0, 2], state[2, 7, 5] = NAN, NAN
    got = sjd2_kernels.nearest_token(**a | {"state": state}, backend=backend)
    assert got[0, 2] == 0
    assert got[2, 7] == 0
    got[0, 2], got[2, 7] = clean[0, 2], clean[2, 7]
    assert torch.equal(got, clean)


@on_backends
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float64])
def test_cosine_table_finds_the_nearest_by_cosine(backend: str, dtype: torch.dtype | None) -> None:
    """Against cosine similarity in normalised space computed directly; a noisy embedding is near its own token."""
    g = generator(9)
    V, C, L = 400, 48, 64
    embeddings = torch.randn(V, C, generator=g) * torch.rand(C, generator=g) + 5 * torch.randn(C, generator=g)
    embeddings *= 1 + torch.rand(V, 1, generator=g)  # lengths that a plain dot product would fall for
    mean, std = embeddings.mean(0), embeddings.std(0)
    token = torch.randint(0, V, (1, L), generator=g)
    state = 0.7 * embeddings[token] + 0.3 * (mean + std * torch.randn(1, L, C, generator=g))
    table, bias = sjd2_kernels.cosine_table(embeddings, mean, std, dtype)
    got = sjd2_kernels.nearest_token(state, table, bias, backend=backend)

    def normalised(x: Tensor) -> Tensor:
        return torch.nn.functional.normalize((x.double() - mean.double()) / std.double(), dim=-1)

    cosine = normalised(state) @ normalised(embeddings).T
    best, chosen = cosine.amax(-1), cosine.gather(-1, got[..., None])[..., 0]
    assert (chosen >= best - (0.02 if dtype == torch.bfloat16 else 1e-5)).all()
    assert (got == token).float().mean() > 0.9
    plain = (state @ embeddings.T).argmax(-1)
    assert (plain == token).float().mean() < 0.5  # the test can fail


@on_backends
def test_scored_slots_do_not_depend_on_the_others(backend: str) -> None:
    """Scattered drafts change which slots are computed, never a result; drafts may be any id."""
    a = case(B=4, L=30, C=65, V=128)
    got = sjd2_kernels.nearest_token(**a, backend=backend)
    alone = sjd2_kernels.nearest_token(a["state"], a["table"], a["bias"], backend=backend)
    free = (a["draft"] < 0) & (a["done"] == 0)[:, None]
    assert torch.equal(got[free], alone[free])
    huge = torch.where(a["draft"] >= 0, 2**40, -5)
    assert sjd2_kernels.nearest_token(**a | {"draft": huge}, backend=backend).eq(2**40).any()


@on_backends
@pytest.mark.parametrize("dtype", REAL)
def test_bits_do_not_depend_on_batch_or_threads(backend: str, dtype: torch.dtype) -> None:
    """B6, B14 on near-ties: the table's rows differ in their last bits, so that a change in the order of a sum shows.

    The reference sums float32 in an order that the BLAS library picks by shape; in float64 these ties are none.
    """
    g = generator(11)
    C, V = 300, 400
    table = (torch.randn(C, generator=g) + 1e-7 * torch.randn(V, C, generator=g)).to(dtype)
    state = torch.randn(6, 23, C, generator=g)
    a = {"state": state.double() if backend == "reference" else state, "table": table, "bias": torch.zeros(V)}

    def nearest(**change: Tensor) -> Tensor:
        return sjd2_kernels.nearest_token(**a | change, backend=backend)

    with threads(1):
        whole = nearest()
    for count in (2, 5):
        with threads(count):
            assert_same(nearest(), whole, f"{count} threads")
    for images in ([5, 3, 4, 1, 0, 2], [2], [1, 1]):
        assert_same(nearest(**rows_of(a, images, WHOLE)), whole[images], f"images {images}")
    for slots in ([0], [22, 3], list(range(0, 23, 2))):
        assert_same(nearest(state=a["state"][:, slots]), whole[:, slots], f"slots {slots}")


@on_backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_any_layout(backend: str, dtype: torch.dtype) -> None:
    """B21."""
    a = case(dtype=dtype)
    whole = sjd2_kernels.nearest_token(**a, backend=backend)
    for layout in range(1, 4):
        assert_same(sjd2_kernels.nearest_token(**strewn(a, layout), backend=backend), whole, f"layout {layout}")


@on_backends
def test_inputs_are_not_written(backend: str) -> None:
    a = case()
    kept = {name: value.clone() for name, value in a.items()}
    got = sjd2_kernels.nearest_token(**a, backend=backend)
    for name, value in kept.items():
        assert_same(a[name], value, name)
    assert got.untyped_storage().data_ptr() != a["draft"].untyped_storage().data_ptr()


@on_backends
def test_offsets_past_2_to_31(backend: str) -> None:
    """B22: table rows and images that begin beyond 2**31 elements (untouched pages take no memory)."""
    C, V = 5, 3
    a = case(B=2, L=4, C=C, V=V) | {"done": None, "draft": None}
    table = sparse(2**32 + 64, torch.bfloat16).as_strided((V, C), (2**31 + 8, 1))
    table.copy_(a["table"])
    state = sparse(2**31 + 64, torch.float32).as_strided((2, 4, C), (2**31 + 8, C, 1))
    state.copy_(a["state"])
    near = a | {"table": a["table"].bfloat16()}
    assert_same(
        sjd2_kernels.nearest_token(**a | {"table": table, "state": state}, backend=backend),
        sjd2_kernels.nearest_token(**near, backend=backend),
    )


def test_operator_properties() -> None:
    for arguments in patterns(case(), ("draft", "done")):
        opcheck(OP, arguments)
    for dtype in (torch.float64, torch.bfloat16):
        for layout in range(4):
            assert_fake_matches(OP, strewn(case(dtype=dtype), layout))


def test_compiles_in_one_graph() -> None:
    def next_draft(**a: Any) -> Tensor:
        return OP(**a) + 1

    compiled = torch.compile(next_draft, fullgraph=True, backend="aot_eager")
    for a in (case(), case(B=2, L=3)):
        assert_same(compiled(**a), next_draft(**a))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"table": torch.zeros(211, 36)}, ValueError, r"nearest_token: table must have shape \[V, 37\] to match state"),
        ({"table": torch.zeros(0, 37)}, ValueError, "table must hold at least one id, got 0 rows"),
        (
            {"bias": torch.zeros(210)},
            ValueError,
            r"bias must have shape \[211\] to match table \[211, 37\], got \(210,\)",
        ),
        ({"bias": torch.zeros(211).half()}, TypeError, "bias must have dtype float32 or float64, got float16"),
        ({"state": torch.zeros(3, 11, 37).half()}, TypeError, "state must have dtype float32 or float64, got float16"),
        ({"draft": torch.zeros(3, 11).int()}, TypeError, "draft must have dtype int64, got int32"),
    ],
)
def test_wrong_arguments(change: dict[str, Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        OP(**case() | change)
