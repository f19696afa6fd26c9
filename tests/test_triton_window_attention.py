"""window_attention's Triton kernels: the operator's own tests, every tile of the table, parts of the prefix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_window_attention as operator
import torch
import triton
import triton.language as tl
from _attention_cases import NAN, arranged, case, check_error, oracle, run
from _live import TRITON_DEVICE
from _noise_cases import assert_same
from _triton_device import triton_device  # noqa: F401

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
        (operator.test_shadow_rows, {"M": 10, "shadow": 3, "refeed": 2}),
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)  # fmt: skip
def test_of_the_operator(test: Callable[..., None], arguments: dict[str, Any], force: Callable[..., None]) -> None:
    """In parts of 64 keys, so that prefixes of the operator's tests have up to three."""
    force(64, 32, 64, 3)
    test(**arguments, backend="triton")


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, FLOAT16], ids=str)
@pytest.mark.parametrize("prefix", [0, 1, 63, 64, 65, 129])
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


def test_scores_that_run_away(force: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    force(64, 64, 64, 2)
    monkeypatch.setattr(operator, "BACKENDS", ["triton"])
    for slope in (1.0, -1.0):
        operator.test_b31_scores_that_run_away(FLOAT32, slope)


def test_b22_far_rows() -> None:
    operator.test_b22_far_rows("triton")


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
