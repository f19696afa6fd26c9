"""window_attention's Triton kernels: the operator's own tests, every tile of the table, parts of the prefix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_window_attention as operator
import test_window_attention_shadow as shadow_rows
import torch
import triton
import triton.language as tl
from _attention_cases import NAN, arranged, caches_after, case, check_error, clones, oracle, run
from _live import TRITON_DEVICE
from _noise_cases import assert_same, generator, sparse
from _triton_device import triton_device  # noqa: F401

import sjd2_kernels
from sjd2_kernels.triton import window_attention as kernels
from sjd2_kernels.triton.launch import Config

pytestmark = pytest.mark.usefixtures("triton_device")
FLOAT32, BFLOAT16, FLOAT16 = torch.float32, torch.bfloat16, torch.float16


@pytest.fixture
def force(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes one tile, and at most so many parts of at least ``least`` keys, the configuration of every case."""

    def put(BM: int, BN: int, least: int, most: int) -> None:
        blocks = {"BM": BM, "BN": BN, "LEAST": least, "WAVE": most}
        cases = {config.case for config in kernels.CONFIGS}
        monkeypatch.setattr(kernels, "CONFIGS", tuple(Config("forced", 4, 2, blocks, name) for name in cases))
        monkeypatch.setattr(kernels, "parts_at_most", lambda wave, Hkv, tiles: wave)

    return put


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        (operator.test_rows_past_the_capacity, {}),
        *((operator.test_b19_empty, {"sizes": sizes}) for sizes in ({"R": 0}, {"M": 0}, {"S": 0}, {"H": 0}, {"D": 0})),
        (operator.test_b18_a_future_key_changes_nothing, {"value": NAN}),
        (operator.test_b16_a_rejected_tail_is_overwritten, {}),
        (operator.test_done_images_are_left_alone, {}),
        (operator.test_b21_layouts, {"M": 21, "dtype": BFLOAT16}),
        (operator.test_batch_padding_and_capacity_do_not_matter, {"dtype": FLOAT32}),
        (operator.test_b31_what_a_peaked_softmax_leaves_over, {"tail": 1e-6, "dtype": FLOAT32}),
        (operator.test_b31_what_a_peaked_softmax_leaves_over, {"tail": 1e-6, "dtype": FLOAT16}),
        (shadow_rows.test_shadow_rows, {"M": 10, "shadow": 3, "refeed": 2}),
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)  # fmt: skip
def test_of_the_operator(test: Callable[..., None], arguments: dict[str, Any], force: Callable[..., None]) -> None:
    """In parts of 64 keys, so that prefixes of the operator's tests have up to three."""
    force(64, 32, 64, 3)
    test(**arguments, backend="triton")


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, FLOAT16], ids=str)
@pytest.mark.parametrize("prefix", [0, 63, 64, 129])
@pytest.mark.parametrize("M", [1, 16, 17])
def test_error(M: int, prefix: int, dtype: torch.dtype) -> None:
    """The default configurations; heads and dims rotate through every M, prefix and dtype."""
    turn = M + prefix + (FLOAT32, BFLOAT16, FLOAT16).index(dtype)
    (H, Hkv), D = [(2, 2), (4, 1), (8, 1), (3, 1)][turn % 4], [5, 40, 64, 16][turn // 2 % 4]
    check_error(case(M, prefix, H, Hkv, D, R=4 if M == 1 else 1, dtype=dtype), "triton")


@pytest.mark.parametrize("BM", [16, 64, 128])
def test_error_of_a_window(BM: int, force: Callable[..., None]) -> None:
    """More queries than one tile, more window rows than one block, a head dim above 128, no timesteps."""
    force(BM, 64, 64, 2)
    check_error(case(97, [130], 3, 1, 32, R=1, q_start=[0], dtype=BFLOAT16), "triton")
    check_error(case(33, [70], 2, 1, 130, R=1, q_start=[3], dtype=BFLOAT16, timesteps=False), "triton")


@triton.jit
def _parts(lengths, sizes, parts, most, LEAST: tl.constexpr, BN: tl.constexpr, N: tl.constexpr):
    o = tl.arange(0, N)
    size, used = kernels._parts(tl.load(lengths + o), most, LEAST, BN)
    tl.store(sizes + o, size)
    tl.store(parts + o, used)


@pytest.mark.parametrize("most", range(1, 9))
@pytest.mark.parametrize(("LEAST", "BN"), [(16, 16), (64, 16), (256, 64), (100, 32)])
def test_parts_are_whole_blocks_and_cover_a_prefix_once(most: int, LEAST: int, BN: int) -> None:
    lengths = torch.arange(2048, dtype=torch.int32, device=TRITON_DEVICE)
    size, used = torch.empty_like(lengths), torch.empty_like(lengths)
    _parts[(1,)](lengths, size, used, most, LEAST=LEAST, BN=BN, N=2048)
    lengths, size, used = lengths.cpu(), size.cpu(), used.cpu()
    assert (size % BN == 0).all()
    assert ((used - 1) * size < lengths)[1:].all()
    assert (used * size >= lengths).all()
    assert used[0] == 1
    assert used.min() == 1
    assert used.max() == min(most, -(-2047 // LEAST))
    assert (used[lengths <= LEAST] == 1).all()


@pytest.mark.parametrize("most", [1, 3, 7])
def test_b20_any_number_of_parts(most: int, force: Callable[..., None]) -> None:
    """Whole blocks, a rest, a part whose only keys are the window's, scratch full of NaN; three lengths in one call."""
    force(16, 16, 16, most)
    c = case(6, [7 * 16, 7 * 16 + 1, 5], 4, 2, 16, R=3, q_start=[0, 2, 5])
    check_error(c, "triton")
    out, *_ = run(arranged(c, 1), "triton")
    assert_same(out, run(c, "triton")[0])


def test_parts_change_rounding_only(force: Callable[..., None]) -> None:
    """More parts give other bits (else the forcing forces nothing), and the same numbers to a tolerance."""
    c = case(5, [160], 2, 1, 24, R=1)
    found = []
    for most in (1, 2, 4):
        force(16, 16, 16, most)
        found.append(run(c, "triton")[0])
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])
    for out in found:
        torch.testing.assert_close(out.double(), oracle(c), rtol=0, atol=2e-6)


def test_a_prefix_of_nan_behind_every_part(force: Callable[..., None]) -> None:
    """NaN right behind each row's prefix, where the last block of a part would read without its mask."""
    force(16, 16, 16, 4)
    for length in (1, 15, 16, 17, 31, 33, 63):
        c = case(3, [length], 2, 2, 8, R=1, S=80, q_start=[0])
        assert run(c, "triton")[0].isfinite().all()


@pytest.mark.parametrize("seed", range(6))
def test_any_shape(seed: int, force: Callable[..., None]) -> None:
    """Random shapes, with rows past the capacity, lengths and starts outside their ranges, images that are done."""
    force(16, 16, 32, 3)
    g = generator(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=g))

    B, copies, Hkv, S = draw(1, 2), draw(1, 2), draw(1, 2), draw(0, 100)
    R, M = B * copies, draw(1, 20)
    kv_len, start = ([draw(-5, top + 5) for _ in range(R)] for top in (S, M))
    c = case(M, kv_len, Hkv * draw(1, 4), Hkv, draw(1, 70), R=R, S=S, q_start=start, seed=seed)
    c["done"] = torch.tensor([draw(0, 3) == 0 for _ in range(B)]).int() * draw(1, 5)
    out, *caches = run(c, "triton")
    torch.testing.assert_close(out.double(), oracle(c), rtol=0, atol=4e-6)
    assert_same(tuple(caches), caches_after(c), "cache")


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_a_value_that_is_not_finite_reaches_those_who_see_it(value: float, force: Callable[..., None]) -> None:
    """Rows before it keep their bits; it and the rows after it are NaN, as in the reference."""
    force(16, 16, 64, 1)
    c = case(20, [30], 4, 2, 16, R=1, q_start=[0])
    before, *_ = run(c, "triton")
    c["v"][0, 7, 1] = value
    after, *_ = run(c, "triton")
    assert_same(after[:, :, :2], before[:, :, :2], "the other kv head")
    assert_same(after[:, :7], before[:, :7], "rows before")
    assert after[:, 7:, 2:].isnan().all()
    assert_same(after.isnan(), run(c, "reference")[0].isnan())


def test_scores_that_run_away(force: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    force(64, 64, 64, 2)
    monkeypatch.setattr(operator, "BACKENDS", ["triton"])
    for slope in (1.0, -1.0):
        operator.test_b31_scores_that_run_away(FLOAT32, slope)


def test_b22_far_rows() -> None:
    operator.test_b22_far_rows("triton")


def test_b22_far_keys(force: Callable[..., None]) -> None:
    """Keys 2**26 elements apart: an offset inside one block of 64 keys does not fit 32 bits."""
    force(16, 64, 64, 1)
    c = case(3, [40], 2, 1, 8, R=1, S=44, dtype=BFLOAT16, q_start=[0])
    pages, far = sparse(44 * 2**26, BFLOAT16), clones(c)
    for i, name in enumerate(("k_cache", "v_cache")):
        far[name] = pages.as_strided((1, 1, 44, 8), (8, 8, 2**26, 1), 512 * i)
        far[name].copy_(c[name])
    out = sjd2_kernels.window_attention(**far, backend="triton")
    assert_same((out, far["k_cache"], far["v_cache"]), run(c, "triton"))


def test_levels_outside_their_range_see_no_timestep() -> None:
    c = case(5, [20, 3], 2, 1, 16, q_start=[0, 0])
    c["level"] = torch.tensor([0, -1, 4, 2**31 - 1, -(2**31)], dtype=torch.int32).expand(2, 5)
    none = {name: value for name, value in c.items() if name not in ("time_k", "time_v", "level")}
    assert_same(run(c, "triton")[0], run(none, "triton")[0])


def test_what_the_kernels_do_not_serve_goes_to_the_reference() -> None:
    """float64, head dims whose tiles would spill: the reference's bits."""
    for dtype, D in ((torch.float64, 8), (FLOAT32, 129), (BFLOAT16, 257)):
        c = case(3, [9, 4], 2, 1, D, dtype=dtype)
        assert_same(run(c, "triton"), run(c, "reference"))
