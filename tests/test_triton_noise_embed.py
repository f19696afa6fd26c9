"""noise_embed's Triton kernels, forward and backward: the operator's own tests, and the bits of the native kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_noise_embed as operator
import torch
from _noise_cases import assert_same, generator
from _triton_device import triton_device  # noqa: F401

import sjd2_kernels

pytestmark = pytest.mark.usefixtures("triton_device")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        *((operator.test_equals_the_formula, {"dtype": dtype}) for dtype in DTYPES[:2]),
        *((operator.test_time_zero_gives_the_bits_of_the_table, {"dtype": dtype}) for dtype in DTYPES),
        *((operator.test_odd_sizes, {"C": C}) for C in (1, 3, 257)),
        *((operator.test_empty_axes, dict(zip("BNCV", sizes, strict=True))) for sizes in ((0, 3, 4, 5), (2, 3, 4, 0))),
        (operator.test_same_noise_as_noise_mix, {}),
        (operator.test_done_images_are_zeros, {}),
        (operator.test_ids_outside_the_table_read_zeros, {}),
        (operator.test_any_layout, {"dtype": torch.float16}),
        (operator.test_offsets_past_2_to_31, {}),
        (operator.test_gradcheck, {}),
        (operator.test_skipped_positions_give_no_gradient, {}),
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)  # fmt: skip
def test_of_the_operator(test: Callable[..., None], arguments: dict[str, Any]) -> None:
    test(**arguments, backend="triton")


def test_bits_of_the_native_kernel() -> None:
    """The same polynomials in the same order, over two blocks of channels and seeds and positions past 32 bits."""
    a = operator.case(B=2, N=3, C=1030)
    assert_same(sjd2_kernels.noise_embed(**a, backend="triton"), sjd2_kernels.noise_embed(**a, backend="native"))


def test_independent_of_the_batch() -> None:
    a = operator.case(B=3, N=4, C=20)
    whole = sjd2_kernels.noise_embed(**a, backend="triton")
    for images in ([2, 0, 1], [2], [1, 1]):
        part = {name: value if name in operator.WHOLE else value[images] for name, value in a.items()}
        assert_same(sjd2_kernels.noise_embed(**part, backend="triton"), whole[images], f"images {images}")


def gradient(a: dict[str, Any], grad: torch.Tensor, backend: str) -> torch.Tensor:
    """The gradient of the table of a call."""
    table = a["table"].clone().requires_grad_()
    sjd2_kernels.noise_embed(**a | {"table": table}, backend=backend).backward(grad)
    assert table.grad is not None
    return table.grad


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradient_equals_that_of_the_reference(dtype: torch.dtype) -> None:
    """Tokens that come once, never, more often than the kernel takes at once; a grad that is a view; several blocks."""
    a = operator.case(B=3, N=9, C=600, V=7, dtype=dtype)
    a["token"][0], a["done"] = 2, torch.tensor([0, 0, 1], dtype=torch.int32)
    grad = torch.randn(3, 600, 9, generator=generator(1)).to(dtype).transpose(1, 2)
    got, want = gradient(a, grad, "triton"), gradient(a, grad, "reference")
    assert got.dtype == dtype
    torch.testing.assert_close(got, want, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


def test_gradient_is_accumulated_wide_and_rounded_once() -> None:
    """In bfloat16 a sum of 400 ones would stop at 256."""
    a = {"table": torch.zeros(2, 2, dtype=torch.bfloat16), "token": torch.zeros(1, 400, dtype=torch.int64)}
    a |= {"mean": torch.zeros(2), "std": torch.ones(2), "t": torch.zeros(1, 400)}
    got = gradient(a, torch.ones(1, 400, 2, dtype=torch.bfloat16), "triton")
    assert got.tolist() == [[400.0, 400.0], [0.0, 0.0]]


def test_gradient_does_not_depend_on_other_tokens() -> None:
    """A row's sum keeps its bits whatever the other rows receive, and from run to run."""
    a = operator.case(B=2, N=40, C=5, V=3)
    a |= {"token": torch.randint(0, 3, (2, 40), generator=generator(2)), "t": torch.zeros(2, 40), "done": None}
    grad = torch.randn(2, 40, 5, generator=generator(3))
    whole = gradient(a, grad, "triton")
    assert_same(gradient(a, grad, "triton"), whole)
    a["token"] = torch.where(a["token"] == 1, 1, -1)
    assert_same(gradient(a, grad, "triton")[1], whole[1])
