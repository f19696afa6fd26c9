"""window_attention against a row-by-row oracle; append, masks, layouts, ragged batches; what bits may depend on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from _attention_cases import (
    NAN,
    Case,
    T,
    arranged,
    caches_after,
    case,
    check_error,
    clones,
    oracle,
    peer,
    position,
    rounding,
    run,
)
from _noise_cases import BACKENDS, REAL, assert_same, generator, on_backends, opcheck, rows_of, sparse, threads
from torch import Tensor

import sjd2_kernels

OP = torch.ops.sjd2.window_attention
WHOLE = ("time_k", "time_v")
HEADS = [(2, 2), (4, 1), (8, 1), (4, 2), (3, 3), (16, 4)]  # MHA, and groups of 2, 4 and 8
DIMS = [5, 40, 64, 80, 128, 1]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Thousands of small products: waking PyTorch's other threads would take longer than the products."""
    with threads(1):
        yield


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("prefix", [0, 1, 127, 128, 129, 1000])
@pytest.mark.parametrize("M", [1, 16, 17, 97, 128])
def test_error(M: int, prefix: int, dtype: torch.dtype) -> None:
    """Twice the error of the same-dtype expression; heads and dims rotate through every M, prefix and dtype."""
    turn = M + prefix + REAL.index(dtype)
    (H, Hkv), D = HEADS[turn % 6], DIMS[(turn // 2) % 6]
    if M * H > 400:
        H, Hkv = 4, 1
    R = 16 if M == 1 else 2 if M < 97 else 1  # one row is too small a sample of an error
    check_error(case(M, prefix, H, Hkv, D, R=R, dtype=dtype), *BACKENDS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_error_at_a_long_prefix(dtype: torch.dtype) -> None:
    check_error(case(97, 9216, 4, 1, 128, R=1, dtype=dtype), *BACKENDS)


@pytest.mark.parametrize(
    ("dtype", "backend"), [(torch.float32, "reference"), *((dtype, "native") for dtype in REAL)], ids=str
)
def test_prefill_and_decode_agree(dtype: torch.dtype, backend: str) -> None:
    """A prompt of several blocks in one call, and the same rows in calls of 1 to 150 rows: natively the same bits."""
    M, D = 300, 24
    c = case(M, [0, 0], 6, 2, D, S=M + 2, q_start=[0, 0], dtype=dtype)
    out, *caches = run(c, backend)
    rows = [0, 1, 127, 128, 129, 255, 256, 299]
    error = (out[:, rows].double() - oracle(c, rows)[:, rows]).abs().max()
    assert error <= 8 * torch.finfo(dtype).eps
    pieces, at, made = [], 0, clones(c)
    for n in (1, 1, 2, 3, 5, 6, 7, 13, 89, 23, 150):
        part = {x: made[x][:, at : at + n] for x in ("q", "k", "v", "level")}
        made["kv_len"] = torch.full((2,), at, dtype=torch.int32)
        pieces.append(sjd2_kernels.window_attention(**{**made, **part}, backend=backend))
        at += n
    assert at == M
    assert_same((made["k_cache"], made["v_cache"]), tuple(caches))
    if backend == "native":
        assert_same(torch.cat(pieces, 1), out)
    torch.testing.assert_close(torch.cat(pieces, 1), out, rtol=0, atol=8 * torch.finfo(dtype).eps)


@on_backends
@pytest.mark.parametrize("seed", range(20))
def test_any_shape(seed: int, backend: str) -> None:
    """Random shapes, with rows past the capacity, lengths and starts outside their ranges, images that are done."""
    g = generator(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=g))

    B, copies, Hkv, S = draw(1, 2), draw(1, 2), draw(1, 3), draw(0, 150)
    R, M = B * copies, draw(1, 30)
    kv_len, start = ([draw(-5, top + 5) for _ in range(R)] for top in (S, M))
    c = case(M, kv_len, Hkv * draw(1, 4), Hkv, draw(1, 70), R=R, S=S, q_start=start, dtype=torch.float64, seed=seed)
    c["done"] = torch.tensor([draw(0, 3) == 0 for _ in range(B)]).int() * draw(1, 5)
    if seed % 2:
        c["shadow"] = draw(0, M // 2)
        c["refeed"] = draw(0, M - 2 * c["shadow"])
    out, *caches = run(c, backend)
    torch.testing.assert_close(out, oracle(c), rtol=0, atol=1e-13)
    assert_same(tuple(caches), caches_after(c), "cache")
    for r in range(R):
        gone = [m for m in range(M) if position(c, r, m) is None]
        assert not out[r, gone].any()


@on_backends
def test_rows_past_the_capacity(backend: str) -> None:
    """Rows that find no place give zero and write nothing, also beyond the tensor's end."""
    c = case(8, [20, 24, 25, 30], R=4, S=25, q_start=[0, 2, 0, 0])
    out, k_cache, _ = run(c, backend)
    alive = [[m for m in range(8) if out[r, m].any()] for r in range(4)]
    assert alive == [[0, 1, 2, 3, 4], [2], [], []]
    assert torch.equal(k_cache[1, :, 24], c["k"][1, 2])
    assert_same(k_cache[2:], c["k_cache"][2:])


@on_backends
@pytest.mark.parametrize("sizes", [{"R": 0}, {"M": 0}, {"S": 0}, {"H": 0}, {"D": 0}, {"R": 0, "M": 0}], ids=str)
def test_b19_empty(sizes: dict[str, int], backend: str) -> None:
    size = {"R": 2, "M": 3, "H": 4, "D": 8, "S": 9} | sizes
    R, M, S = size["R"], size["M"], size["S"]
    c = case(M, [min(4, S)] * R, size["H"], 2, size["D"], R=R, S=S, q_start=[0] * R)
    out, *caches = run(c, backend)
    assert out.shape == c["q"].shape
    assert out.numel() == 0 or not out.any()
    assert_same(tuple(caches), caches_after(c), "cache")


@on_backends
@pytest.mark.parametrize("value", [3.0, NAN, float("inf")])
def test_b18_a_future_key_changes_nothing(value: float, backend: str) -> None:
    c = case(40, [100, 126], 4, 2, 16, q_start=[0, 0])
    before, *_ = run(c, backend)
    for j in (1, 5, 6, 27, 28, 39):
        changed = clones(c)
        changed["k"][:, j:], changed["v"][:, j:] = -value, value
        after, *_ = run(changed, backend)
        assert_same(after[:, :j], before[:, :j], f"rows before {j}")
        assert not torch.isclose(after[:, j], before[:, j]).any(), f"row {j} does not see its own key"


@on_backends
def test_b16_a_rejected_tail_is_overwritten(backend: str) -> None:
    """Rollback is a kv_len that does not move: the second call must not see what the first one wrote after it."""
    c = case(12, [30, 17])
    first = clones(c)
    sjd2_kernels.window_attention(**first, backend=backend)
    again = clones(first)
    again["kv_len"] += torch.tensor([3, 0], dtype=torch.int32)  # 3 rows of the first image were accepted
    for name in ("q", "k", "v"):
        again[name] = c[name].flip(1).nan_to_num(0.5)
    out, *_ = run(again, backend)
    for r, length in enumerate(again["kv_len"].tolist()):
        again["k_cache"][r, :, length:] = again["v_cache"][r, :, length:] = NAN
    assert_same(out, run(again, backend)[0])
    torch.testing.assert_close(out.double(), oracle(again), rtol=0, atol=2e-6)


def timesteps_spelled_out(c: Case) -> Tensor:
    """Full attention over prefix, window and one explicit timestep row per query, which only that query may see."""
    R, M, H, D = c["q"].shape
    length, group = int(c["kv_len"][0]), H // c["k"].shape[2]
    noisy = (c["level"] > 0) & (c["level"] <= T)
    at = torch.where(noisy, c["level"], 1).long()

    def joined(cache: Tensor, rows: Tensor, steps: Tensor) -> Tensor:
        parts = [cache[:, :, :length], rows.transpose(1, 2), steps[at].transpose(1, 2)]
        return torch.cat(parts, 2).repeat_interleave(group, 1)

    eye, past = torch.eye(M, dtype=torch.bool), torch.ones(M, M, dtype=torch.bool).tril()
    mask = torch.cat([torch.ones(R, M, length, dtype=torch.bool), past.expand(R, M, M), eye & noisy[:, :, None]], 2)
    keys, values = joined(c["k_cache"], c["k"], c["time_k"]), joined(c["v_cache"], c["v"], c["time_v"])
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(c["q"].transpose(1, 2), keys, values, mask[:, None], scale=c["scale"]).transpose(1, 2)


@on_backends
def test_timesteps_are_rows_that_one_query_sees(backend: str) -> None:
    c = case(33, [70, 70], 6, 2, 20, q_start=[0, 0], dtype=torch.float64)
    out, *_ = run(c, backend)
    torch.testing.assert_close(out, timesteps_spelled_out(c), rtol=0, atol=1e-13)
    extremes = torch.tensor([0, -1, T + 1, 2**31 - 1, -(2**31)], dtype=torch.int32)
    c["level"] = extremes[torch.arange(33) % 5].expand(2, 33)
    none = {name: value for name, value in c.items() if name not in ("time_k", "time_v", "level")}
    assert_same(run(c, backend)[0], run(none, backend)[0], "levels outside 1..T")


@on_backends
def test_done_images_are_left_alone(backend: str) -> None:
    """Row r belongs to image r mod B: with guidance, both rows of an image stop together."""
    c = case(9, [20, 21, 22, 23, 24, 25], R=6, q_start=[0] * 6)
    running, *after = run(c, backend)
    c["done"] = torch.tensor([0, 7, 0], dtype=torch.int32)
    for name in ("q", "k", "v"):
        c[name][[1, 4]] = NAN
    out, *caches = run(c, backend)
    assert not out[[1, 4]].any()
    kept = [0, 2, 3, 5]
    assert_same(out[kept], running[kept])
    for cache, written, before in zip(caches, after, (c["k_cache"], c["v_cache"]), strict=True):
        assert_same(cache[[1, 4]], before[[1, 4]])
        assert_same(cache[kept], written[kept])


@on_backends
@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("M", [2, 21])
def test_b21_layouts(M: int, dtype: torch.dtype, backend: str) -> None:
    c = case(M, [140, 139], 4, 2, 32, dtype=dtype)
    expected = run(c, backend)
    for layout in range(6):
        made = arranged(c, layout)
        out = sjd2_kernels.window_attention(**made, backend=backend)
        assert_same((out, made["k_cache"], made["v_cache"]), expected, f"layout {layout}")


@on_backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_batch_padding_and_capacity_do_not_matter(dtype: torch.dtype, backend: str) -> None:
    """L2: permuted, split, padded in front or in capacity, every image keeps its bits."""
    c = case(26, [0, 3, 127, 130, 260], 4, 2, 48, R=5, q_start=[0, 1, 20, 5, 25], dtype=dtype)
    out, *_ = run(c, backend)
    order = [3, 0, 4, 2, 1]
    assert_same(run(rows_of(c, order, WHOLE), backend)[0], out[order], "permuted")
    for r in range(5):
        assert_same(run(rows_of(c, [r], WHOLE), backend)[0], out[[r]], f"image {r} alone")
    if backend == "reference":
        return  # matrix products of another size: equal to a tolerance, checked by the error tests
    padded = clones(c)
    for name in ("q", "k", "v", "level"):
        front = torch.full_like(c[name][:, :7], 1 if name == "level" else NAN)
        padded[name] = torch.cat([front, c[name]], 1)
    padded["q_start"] += 7
    for name in ("k_cache", "v_cache"):
        padded[name] = torch.cat([c[name], torch.full_like(c[name][:, :, :50], NAN)], 2)
    assert_same(run(padded, backend)[0][:, 7:], out, "padded")


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_thread_counts(dtype: torch.dtype) -> None:
    """Threads change how rows are cut into tasks (one head, 1024 rows: 2 to 14 chunks), never a bit."""
    c = case(128, [300], 8, 1, 32, R=1, dtype=dtype)
    expected = run(c, "native")
    for count in (2, 3, 7):
        with threads(count):
            assert_same(run(c, "native"), expected, f"{count} threads")
            assert_same(run(c, "native"), expected, f"{count} threads, again")


@on_backends
def test_b22_far_rows(backend: str) -> None:
    """Caches and queries whose second image lies 2**31 elements away, which a 32-bit offset would wrap."""
    far = 2**31 + 64
    c = case(3, [10, 12], 2, 1, 8, S=16, dtype=torch.bfloat16)
    expected = run(c, backend)
    pages, made = sparse(far + 4096, torch.bfloat16), clones(c)
    for i, name in enumerate(("q", "k", "v", "k_cache", "v_cache")):
        inner = c[name].contiguous().stride()[1:]
        made[name] = pages.as_strided(c[name].shape, (far, *inner), 512 * i)
        made[name].copy_(c[name])
    out = sjd2_kernels.window_attention(**made, backend=backend)
    assert_same((out, made["k_cache"], made["v_cache"]), expected)


@on_backends
@pytest.mark.parametrize("tail", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_b31_what_a_peaked_softmax_leaves_over(dtype: torch.dtype, tail: float, backend: str) -> None:
    """One key takes all but `tail` of the weight and has value 0: the output is the rest; its relative error counts."""
    c = case(7, [400], 2, 1, 64, R=1, q_start=[0], dtype=dtype, timesteps=False)
    c["q"][:] = c["q"][:, 6:, :1]
    q = c["q"][0, 0, 0].double()
    reach = torch.log(torch.tensor(400 / tail)) / c["scale"] / (q @ q)
    c["k_cache"][0, 0, 77], c["k_cache"][0, 0, :77] = (reach * q).to(dtype), c["k_cache"][0, 0, :77] / 8
    for name in ("v", "v_cache"):
        c[name] = torch.where(c[name].isnan(), c[name], c[name].abs())
    c["v_cache"][0, 0, 77] = 0
    exact, theirs, (out, *_) = oracle(c), peer(c).double(), run(c, backend)
    assert 0.01 * tail < exact.max() < 100 * tail
    relative = [((x.double() - exact) / exact).abs().max() for x in (out, theirs)]
    assert relative[0] <= 2 * relative[1] + rounding(dtype, torch.tensor(2.0))


@pytest.mark.parametrize("slope", [1.0, -1.0])
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_b31_scores_that_run_away(dtype: torch.dtype, slope: float) -> None:
    """Scores that rise or fall by 2 per key, far past what exp can hold: the largest must be taken off in time."""
    c = case(9, [300], 2, 1, 16, R=1, q_start=[0], dtype=dtype, timesteps=False)
    ramp = torch.arange(320)[:, None] * slope
    c["q"][..., 0], c["scale"] = 1.0, 2.0
    for name, rows in (("k_cache", c["k_cache"][0, 0]), ("k", c["k"][0, :, 0])):
        at = ramp[: len(rows)] if name == "k_cache" else ramp[300 : 300 + len(rows)]
        rows[:] = rows / 64
        rows[:, :1] = torch.where(rows[:, :1].isnan(), rows[:, :1], at.to(dtype))
    check_error(c, *BACKENDS)


def test_numbers_are_spread_and_the_default_backend_serves() -> None:
    c = case(4, [6, 6], q_start=[0, 0])
    expected = run(c, "reference")[0]
    used = clones(c) | {"kv_len": 6, "q_start": 0}
    torch.testing.assert_close(sjd2_kernels.window_attention(**used), expected)


@pytest.mark.parametrize("pattern", ["bare", "timesteps", "done", "all", "strided", "shadow"])
def test_opcheck(pattern: str) -> None:
    c = case(6, [9, 4], 4, 2, 8, dtype=torch.bfloat16 if pattern == "all" else torch.float32)
    c = {name: value.nan_to_num(0.5) if isinstance(value, Tensor) else value for name, value in c.items()}
    if pattern in ("bare", "done"):
        c = {name: value for name, value in c.items() if name not in ("time_k", "time_v", "level")}
    if pattern in ("done", "all"):
        c["done"] = torch.tensor([0, 1], dtype=torch.int32)
    if pattern == "strided":
        c = arranged(c, 1)
    if pattern == "shadow":
        c |= {"shadow": 2, "refeed": 1}
    opcheck(OP, c)


def test_compiled_equals_eager() -> None:
    """Under fullgraph compilation the caches are still written in place, between the graph's other reads of them."""

    def step(**c: Any) -> tuple[Tensor, Tensor]:
        before = c["k_cache"][:, :, 5] * 2
        out = OP(**c)
        return out * 2, before + c["k_cache"][:, :, 5]

    c = case(4, [5, 5], q_start=[0, 0])
    c = {name: value.nan_to_num(0.5) if isinstance(value, Tensor) else value for name, value in c.items()}
    eager, compiled = clones(c), clones(c)
    expected = step(**eager)
    assert_same(torch.compile(step, fullgraph=True, backend="aot_eager")(**compiled), expected)
    assert_same((compiled["k_cache"], compiled["v_cache"]), (eager["k_cache"], eager["v_cache"]))


TARGET = """
import sys
import torch
from _attention_cases import case, check_error
from sjd2_kernels import native

for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
    for M, prefix, H, Hkv, D in ((1, 130, 4, 2, 40), (17, 127, 4, 1, 5), (9, 260, 3, 3, 64), (1, 129, 1, 1, 128)):
        check_error(case(M, prefix, H, Hkv, D, dtype=dtype), "native")
print(native.module().describe())
"""


@pytest.mark.parametrize("target", ["baseline", "avx2"])
def test_lower_targets(target: str) -> None:
    # no empty entry: it would mean the current folder, whose package has no native module
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"SJD2_CPU_TARGET": target, "PYTHONPATH": path}
    ran = subprocess.run([sys.executable, "-c", TARGET], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert target in ran.stdout or "baseline" in ran.stdout


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k_cache": torch.zeros(2, 3, 9, 8)}, ValueError,
         r"k_cache must have shape \[2, 2, S, 8\] to match q \[2, 3, 4, 8\], got \(2, 3, 9, 8\)"),
        ({"v_cache": torch.zeros(2, 2, 8, 8)}, ValueError,
         r"v_cache must have shape \[2, 2, 9, 8\] to match k_cache \[2, 2, 9, 8\], got \(2, 2, 8, 8\)"),
        ({"k_cache": torch.zeros(2, 2, 9, 16)[..., ::2]}, ValueError, r"k_cache must have stride 1 .* got 2"),
        ({"k": torch.zeros(2, 3, 3, 8)}, ValueError, "k must have a number of heads that divides the 4 of q, got 3"),
        ({"v": torch.zeros(2, 3, 2, 8).half()}, TypeError, "v must have dtype float32, got float16"),
        ({"kv_len": torch.zeros(2, dtype=torch.int64)}, TypeError, "kv_len must have dtype int32, got int64"),
        ({"level": torch.zeros(2, 3, dtype=torch.int32)}, ValueError, "given all or none, got no time_k, time_v"),
        ({"done": torch.zeros(3, dtype=torch.int32)}, ValueError, "done must have a length that divides the 2 rows"),
        ({"shadow": 2}, ValueError, "shadow and refeed must leave .* got shadow=2, refeed=1"),
    ],
)  # fmt: skip
def test_messages(change: dict[str, Any], error: type[Exception], message: str) -> None:
    c = case(3, [4, 4], 4, 2, 8, S=9, timesteps=False)
    with pytest.raises(error, match=f"^window_attention: .*{message}"):
        OP(**{**c, **change})
