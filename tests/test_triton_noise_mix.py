"""noise_mix's Triton kernel: the operator's own tests, and the bits of the native kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_noise_mix as operator
import torch
from _noise_cases import assert_same, rows_of
from _triton_device import triton_device  # noqa: F401

import sjd2_kernels

pytestmark = pytest.mark.usefixtures("triton_device")
SIZES = [(0, 3, 4, 5, 3), (2, 0, 4, 5, 3), (2, 3, 4, 0, 3), (3, 1, 1, 1, 1), (4, 5, 7, 3, 0)]


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        (operator.test_the_six_rules, {"dtype": torch.float32}),
        *((operator.test_edge_sizes, dict(zip("BLCVT", sizes, strict=True))) for sizes in SIZES),
        (operator.test_fresh_belongs_to_the_same_position, {}),
        (operator.test_order_of_the_rules, {}),
        (operator.test_noise_belongs_to_the_position, {}),
        (operator.test_nothing_is_written_in_place, {}),
        (operator.test_ids_outside_the_table_read_zeros, {}),
        (operator.test_done_images_are_skipped, {}),
        (operator.test_offsets_past_2_to_31, {}),
        (operator.test_garbage_stays_where_it_is, {}),
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_of_the_operator(test: Callable[..., None], arguments: dict[str, Any]) -> None:
    test(**arguments, backend="triton")


@pytest.mark.parametrize("left_out", [(), *((name,) for name in operator.OPTIONAL), operator.OPTIONAL], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_bits_of_the_native_kernel(dtype: torch.dtype, left_out: tuple[str, ...]) -> None:
    """The same arithmetic in the same order, with each optional argument left out."""
    a = operator.case(B=4, L=3, C=21, dtype=dtype) | dict.fromkeys(left_out)
    assert_same(sjd2_kernels.noise_mix(**a, backend="triton"), sjd2_kernels.noise_mix(**a, backend="native"))


def test_several_blocks_of_channels_in_any_layout() -> None:
    a = operator.case(B=2, L=3, C=1030) | {"done": None}
    whole = sjd2_kernels.noise_mix(**a, backend="native")
    for layout in (1, 2):
        moved = operator.strewn(a, layout)
        assert_same(sjd2_kernels.noise_mix(**moved, backend="triton"), whole, f"layout {layout}")


def test_independent_of_the_batch() -> None:
    a = operator.case(B=4, L=3, C=20)
    whole = sjd2_kernels.noise_mix(**a, backend="triton")
    for images in ([3, 0, 2, 1], [2], [3, 3]):
        part = sjd2_kernels.noise_mix(**rows_of(a, images, operator.WHOLE), backend="triton")
        assert_same(part, tuple(x[images] for x in whole), f"images {images}")
