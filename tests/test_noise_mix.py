"""noise_mix: its six rules against a slot-by-slot oracle, and its step against the paper's formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _noise_cases import (
    REAL,
    assert_fake_matches,
    assert_same,
    generator,
    normals,
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

OP = torch.ops.sjd2.noise_mix
WHOLE = ("times", "table", "mean", "std")  # arguments without an axis of images
OPTIONAL = ("forced", "n_tokens", "accept_len", "done")


def karras(T: int) -> Tensor:
    """Times 0, then T levels up to 1, spaced as Karras et al. with rho = 7 (float32 [T + 1])."""
    ramp = torch.linspace(0, 1, T, dtype=torch.float64)
    low, high = 0.002 ** (1 / 7), 1.0
    return torch.cat([torch.zeros(1, dtype=torch.float64), (low + ramp * (high - low)) ** 7]).float()


def case(
    B: int = 6, L: int = 9, C: int = 21, V: int = 13, T: int = 5, dtype: torch.dtype = torch.float32
) -> dict[str, Any]:
    """A call with every argument that meets every rule; ids, levels and shifts lie outside their ranges too."""
    g = generator(B + 10 * L + 100 * C + T)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    done = torch.zeros(B, dtype=torch.int32)
    done[1:2] = 1
    pos = torch.randint(0, 2**33, (B,), generator=g)
    forced = torch.randint(0, V + 1, (B, L), generator=g)
    return {
        "state": torch.randn(B, L, C, generator=g, dtype=wide),
        "level": torch.randint(-1, T + 3, (B, L), generator=g, dtype=torch.int32),
        "tokens": torch.randint(-2, V + 2, (B, L), generator=g),
        "fresh": torch.randint(-2, V + 2, (B, L), generator=g),
        "shift": torch.randint(-2, L + 3, (B,), generator=g, dtype=torch.int32),
        "times": karras(T),
        "table": torch.randn(V, C, generator=g).to(dtype),
        "mean": torch.randn(C, generator=g),
        "std": torch.rand(C, generator=g) + 0.1,
        "seed": torch.randint(-(2**62), 2**62, (B,), generator=g),
        "pos": pos,
        "forced": torch.where(torch.rand(B, L, generator=g) < 0.15, forced, -1),
        "n_tokens": pos + torch.randint(L // 2, 2 * L + 1, (B,), generator=g),
        "accept_len": torch.randint(-1, L + 1, (B,), generator=g, dtype=torch.int32),
        "done": done,
    }


def slot_by_rules(a: dict[str, Any], b: int, j: int) -> tuple[Tensor, int, int, bool]:
    """(state in float64, level, draft, exact) of one new slot: the rules of docs/operators.md, one after the other."""
    L, T, V = a["level"].shape[1], len(a["times"]) - 1, len(a["table"])
    nothing = torch.zeros(a["state"].shape[2], dtype=torch.float64)

    def table(token: int) -> Tensor:
        return a["table"][token].double() if 0 <= token < V else nothing

    if a.get("done") is not None and a["done"][b] != 0:
        return nothing, 0, -1, True
    position = a["pos"][b].item() + j
    if a.get("n_tokens") is not None and position >= a["n_tokens"][b]:  # 1
        return nothing, 0, -1, True
    if a.get("forced") is not None and a["forced"][b, j] >= 0:  # 2
        token = a["forced"][b, j].item()
        return table(token), 0, token, True
    i = j + min(max(a["shift"][b].item(), 0), L)
    if i >= L:  # 3
        if T == 0:
            return nothing, 0, -1, True
        return a["mean"] + a["std"] * normals(a["seed"][b].item(), position, len(nothing)), T, -1, False
    level = min(max(a["level"][b, i].item(), 0), T)
    if level == 0 or (a.get("accept_len") is not None and i <= a["accept_len"][b]):  # 4
        token = a["tokens"][b, i].item()
        return table(token), 0, token, True
    token = a["fresh"][b, i].item()
    if level == 1:  # 5
        return table(token), 0, token, True
    keep = (a["times"][level - 1].double() / a["times"][level].double()).item()  # 6
    return keep * a["state"][b, i].double() + (1 - keep) * table(token), level - 1, -1, False


def check_against_rules(a: dict[str, Any], backend: str) -> None:
    state, level, draft, rows = sjd2_kernels.noise_mix(**a, backend=backend)
    bound = 1e-12 if state.dtype == torch.float64 else 5e-6
    for b, j in torch.cartesian_prod(*map(torch.arange, a["level"].shape)).tolist():
        want, want_level, want_draft, exact = slot_by_rules(a, b, j)
        assert (level[b, j].item(), draft[b, j].item()) == (want_level, want_draft), f"slot {b, j}"
        error = (state[b, j].double() - want).abs().max().item() if want.numel() else 0.0
        assert error <= (0.0 if exact else bound), f"slot {b, j}: state off by {error}"
    assert_same(rows, state.to(a["table"].dtype), "rows")


@on_backends
@pytest.mark.parametrize("dtype", REAL)
def test_the_six_rules(backend: str, dtype: torch.dtype) -> None:
    check_against_rules(case(dtype=dtype), backend)


@on_backends
@pytest.mark.parametrize("left_out", OPTIONAL)
def test_the_rules_without_one_option(backend: str, left_out: str) -> None:
    check_against_rules(case() | {left_out: None}, backend)


@on_backends
@pytest.mark.parametrize(
    ("B", "L", "C", "V", "T"),
    [
        (0, 3, 4, 5, 3),
        (2, 0, 4, 5, 3),
        (2, 3, 0, 5, 3),
        (2, 3, 4, 0, 3),
        (3, 1, 1, 1, 1),
        (4, 5, 257, 3, 0),
        (2, 33, 3, 2, 25),
    ],
)
def test_edge_sizes(backend: str, B: int, L: int, C: int, V: int, T: int) -> None:
    """B19: nothing, one of everything, no level but clean, more channels than one block of the kernel."""
    a = case(B=B, L=L, C=C, V=max(V, 1), T=max(T, 1))
    check_against_rules(a | {"table": a["table"][:V], "times": a["times"][: T + 1]}, backend)


def one_image(**change: Any) -> dict[str, Any]:
    """L = 4 slots of levels 0, 1, 2, 3; the table shows the token, the state the slot; no option given."""
    L, V, T = 4, 20, 3
    table = 100.0 + torch.arange(V, dtype=torch.float32)[:, None].expand(V, 2)
    return {
        "state": torch.arange(L, dtype=torch.float32)[None, :, None].expand(1, L, 2),
        "level": torch.arange(L, dtype=torch.int32)[None],
        "tokens": torch.arange(L)[None],
        "fresh": 10 + torch.arange(L)[None],
        "shift": 0,
        "times": torch.tensor([0.0, 0.25, 0.5, 1.0])[: T + 1],
        "table": table,
        "mean": torch.zeros(2),
        "std": torch.ones(2),
        "seed": 0,
        "pos": 0,
    } | change


@on_backends
def test_fresh_belongs_to_the_same_position(backend: str) -> None:
    """Slot i is denoised with fresh[i], drawn from the row before it, also after a shift: not a slot off."""
    state, level, draft, _ = sjd2_kernels.noise_mix(**one_image(), backend=backend)
    assert level.tolist() == [[0, 0, 1, 2]]
    assert draft.tolist() == [[0, 11, -1, -1]]
    assert state[0, :, 0].tolist() == [100.0, 111.0, 0.5 * 2 + 0.5 * 112, 0.5 * 3 + 0.5 * 113]
    state, level, draft, _ = sjd2_kernels.noise_mix(**one_image(shift=1), backend=backend)
    assert level.tolist() == [[0, 1, 2, 3]]
    assert draft.tolist() == [[11, -1, -1, -1]]
    assert state[0, :3, 0].tolist() == [111.0, 0.5 * 2 + 0.5 * 112, 0.5 * 3 + 0.5 * 113]


@on_backends
def test_order_of_the_rules(backend: str) -> None:
    """Each earlier rule overrules the later ones."""
    a = one_image(shift=2, accept_len=torch.tensor([2], dtype=torch.int32))
    _, level, draft, _ = sjd2_kernels.noise_mix(**a, backend=backend)
    assert (level.tolist(), draft.tolist()) == ([[0, 2, 3, 3]], [[2, -1, -1, -1]])  # cut off by the cap: clean
    forced = torch.tensor([[-1, 7, 8, -1]])
    state, level, draft, _ = sjd2_kernels.noise_mix(**a, forced=forced, backend=backend)
    assert (level.tolist(), draft.tolist()) == ([[0, 0, 0, 3]], [[2, 7, 8, -1]])
    assert state[0, 1:3, 0].tolist() == [107.0, 108.0]
    state, level, draft, _ = sjd2_kernels.noise_mix(**a, forced=forced, n_tokens=2, backend=backend)
    assert (level.tolist(), draft.tolist()) == ([[0, 0, 0, 0]], [[2, 7, -1, -1]])
    assert state[0, 2:].eq(0).all()


@on_backends
@pytest.mark.parametrize("T", [1, 4, 25])
def test_step_is_the_papers_euler_step(backend: str, T: int) -> None:
    """SJD2 Eq. 3 in normalised space, de-normalised afterwards.

    e and e0hat give the noise e_hat = (e - (1-t) e0hat) / t; one Euler step of the rectified flow's ODE
    de/dt = e_hat - e0hat goes from t to s; equally it is (1-s) e0hat + s e_hat.
    """
    a = case(B=4, L=2 * T, C=33, T=T, dtype=torch.float64) | dict.fromkeys(OPTIONAL)
    a |= {"level": (torch.arange(2 * T, dtype=torch.int32) % T + 1).expand(4, 2 * T), "shift": 0}
    a["fresh"] = a["fresh"].clamp(0, len(a["table"]) - 1)
    state, level, _, _ = sjd2_kernels.noise_mix(**a, backend=backend)

    mean, std, times = (a[name].double() for name in ("mean", "std", "times"))
    t, s = times[a["level"].long()][..., None], times[a["level"].long() - 1][..., None]
    e, e0hat = (a["state"] - mean) / std, (a["table"][a["fresh"]] - mean) / std
    noise = (e - (1 - t) * e0hat) / t
    euler = e + (s - t) * (noise - e0hat)
    rounding = 1e-12 / a["times"][1].item()  # the formula divides by t, the lerp does not
    torch.testing.assert_close(state, mean + std * euler, rtol=0, atol=rounding)
    torch.testing.assert_close(state, mean + std * ((1 - s) * e0hat + s * noise), rtol=0, atol=rounding)
    assert torch.equal(level, a["level"] - 1)


@on_backends
def test_a_right_prediction_leads_from_noise_to_the_token(backend: str) -> None:
    """T steps with one x0hat: level by level the forward process of that token with the slot's noise, then clean."""
    T, L, C, V = 6, 3, 17, 9
    a = case(B=2, L=L, C=C, V=V, T=T) | dict.fromkeys(OPTIONAL)
    token = torch.randint(0, V, (2, L), generator=generator(5))
    window = {"state": a["state"], "level": a["level"]}
    for step in range(T + 1):
        a |= {**window, "fresh": token, "shift": L if step == 0 else 0}
        state, level, draft, rows = sjd2_kernels.noise_mix(**a, backend=backend)
        window = {"state": state, "level": level}
        t = a["times"][T - step].expand(2, L).contiguous()
        names = ("table", "mean", "std", "seed", "pos")
        forward = sjd2_kernels.noise_embed(token=token, t=t, **{n: a[n] for n in names}, backend=backend)
        torch.testing.assert_close(state, forward, rtol=1e-5, atol=1e-5)
        assert level.eq(T - step).all()
    assert torch.equal(draft, token)
    assert torch.equal(rows, a["table"][token])


@on_backends
def test_noise_belongs_to_the_position(backend: str) -> None:
    """A slot first seen late in one window equals the slot of that position seen first in another."""
    a = one_image(shift=4, seed=3, pos=10)
    first = sjd2_kernels.noise_mix(**a, backend=backend)[0]
    later = sjd2_kernels.noise_mix(**a | {"pos": 12}, backend=backend)[0]
    assert torch.equal(first[:, 2:], later[:, :2])
    assert not torch.equal(first[:, :2], later[:, :2])
    partly = sjd2_kernels.noise_mix(**a | {"shift": 2}, backend=backend)[0]
    assert torch.equal(first[:, 2:], partly[:, 2:])


@on_backends
def test_nothing_is_written_in_place(backend: str) -> None:
    a = case()
    kept = {name: value.clone() for name, value in a.items()}
    outputs = sjd2_kernels.noise_mix(**a, backend=backend)
    for name, value in kept.items():
        assert_same(a[name], value, name)
    inputs = {value.untyped_storage().data_ptr() for value in a.values()}
    assert all(x.is_contiguous() and x.untyped_storage().data_ptr() not in inputs for x in outputs)


@on_backends
def test_garbage_stays_where_it_is(backend: str) -> None:
    """B16: NaN in slots that are dropped, overruled or done, and in table rows nobody asked for, reaches nothing."""
    a = case()
    a |= {name: torch.where(a[name] == 3, 4, a[name]) for name in ("tokens", "fresh", "forced")}  # no one asks for 3
    clean = sjd2_kernels.noise_mix(**a, backend=backend)
    L = a["level"].shape[1]
    used = torch.zeros(a["level"].shape, dtype=torch.bool)
    for b, j in torch.cartesian_prod(*map(torch.arange, used.shape)).tolist():
        i = j + min(max(a["shift"][b].item(), 0), L)
        if i < L and slot_by_rules(a, b, j)[1] > 0:
            used[b, i] = True
    assert (~used).any()
    poisoned = a | {"state": a["state"].clone(), "table": a["table"].clone()}
    poisoned["state"][~used] = float("nan")
    poisoned["table"][3] = float("nan")
    assert_same(sjd2_kernels.noise_mix(**poisoned, backend=backend), clean)
    everywhere = a | {"state": torch.full_like(a["state"], float("nan")), "level": torch.ones_like(a["level"])}
    assert all(x.isfinite().all() for x in sjd2_kernels.noise_mix(**everywhere, backend=backend)[::3])


@on_backends
def test_ids_outside_the_table_read_zeros(backend: str) -> None:
    """B15: no row of the table stands in for them, not even multiplied by zero; the draft keeps the id as it is."""
    ids = torch.tensor([[-1, 20, -(2**40), 2**40]])
    a = one_image(tokens=ids, fresh=ids, table=torch.full((20, 2), float("nan")))
    state, _, draft, rows = sjd2_kernels.noise_mix(**a, backend=backend)
    assert state[0, :, 0].tolist() == [0.0, 0.0, 0.5 * 2, 0.5 * 3]
    assert torch.equal(rows, state)
    assert draft.tolist() == [[-1, 20, -1, -1]]


@on_backends
def test_done_images_are_skipped(backend: str) -> None:
    state, level, draft, rows = sjd2_kernels.noise_mix(**case(), backend=backend)
    assert state[1].eq(0).all()
    assert level[1].eq(0).all()
    assert draft[1].eq(-1).all()
    assert rows[1].eq(0).all()
    assert state[0].ne(0).any()


@on_backends
def test_independent_of_the_batch(backend: str) -> None:
    """B6, B7: permuted, padded, split and repeated images give the same bits."""
    a = case(B=7, C=300)
    whole = sjd2_kernels.noise_mix(**a, backend=backend)
    for images in ([6, 4, 5, 3, 1, 2, 0], [2], [3, 3, 0]):
        part = sjd2_kernels.noise_mix(**rows_of(a, images, WHOLE), backend=backend)
        assert_same(part, tuple(x[images] for x in whole), f"images {images}")


@on_backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_layout(backend: str, dtype: torch.dtype) -> None:
    """B21."""
    a = case(dtype=dtype)
    whole = sjd2_kernels.noise_mix(**a, backend=backend)
    for layout in range(1, 4):
        assert_same(sjd2_kernels.noise_mix(**strewn(a, layout), backend=backend), whole, f"layout {layout}")


@pytest.mark.parametrize("count", [2, 3, 7])
def test_independent_of_the_number_of_threads(count: int) -> None:
    a = case(B=8, L=16, C=700)
    with threads(1):
        one = sjd2_kernels.noise_mix(**a)
    with threads(count):
        assert_same(sjd2_kernels.noise_mix(**a), one)


@on_backends
def test_offsets_past_2_to_31(backend: str) -> None:
    """B22: the second image's state begins beyond 2**31 elements (untouched pages take no memory)."""
    C = 6
    a = case(B=2, L=2, C=C) | dict.fromkeys(OPTIONAL) | {"shift": 0, "level": 2}
    a["level"] = torch.full((2, 2), 2, dtype=torch.int32)
    far = sparse(2**31 + 64, torch.float32).as_strided((2, 2, C), (2**31, C, 1))
    far.copy_(a["state"])
    assert_same(
        sjd2_kernels.noise_mix(**a | {"state": far}, backend=backend), sjd2_kernels.noise_mix(**a, backend=backend)
    )


def test_operator_properties() -> None:
    a = case(B=3, L=4)
    for arguments in patterns(a, OPTIONAL):
        opcheck(OP, arguments)
    for dtype in (torch.float64, torch.float16):
        for layout in range(4):
            assert_fake_matches(OP, strewn(case(dtype=dtype), layout))


def test_compiles_in_one_graph() -> None:
    def step(**a: Any) -> tuple[Tensor, ...]:
        state, level, draft, rows = OP(**a)
        return state * 2, level, draft, rows

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for a in (case(), case(B=4, L=5)):
        assert_same(compiled(**a), step(**a))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"table": torch.zeros(13, 20)}, ValueError, r"noise_mix: table must have shape \[V\+F, 21\] to match state"),
        ({"table": torch.zeros(13, 21).double()}, ValueError, "state must be float64 to match the float64 table"),
        ({"level": torch.zeros(6, 9).long()}, TypeError, "level must have dtype int32, got int64"),
        ({"times": torch.zeros(0)}, ValueError, "times must hold at least the time of level 0, got an empty tensor"),
        ({"fresh": torch.zeros(6, 8).long()}, ValueError, r"fresh must have shape \[6, 9\] .*got \(6, 8\)"),
        ({"accept_len": torch.zeros(5).int()}, ValueError, r"accept_len must have shape \[6\]"),
    ],
)
def test_wrong_arguments(change: dict[str, Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        OP(**case() | change)
