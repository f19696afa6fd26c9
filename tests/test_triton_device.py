"""The Triton kernels of attention and noise on a device: CUDA graphs, any stream, no synchronisation, real shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_nearest_token
import test_noise_embed
import test_noise_mix
import torch
from _attention_cases import case, check_error
from _triton_device import triton_device  # noqa: F401
from torch import Tensor

import sjd2_kernels

pytestmark = pytest.mark.gpu
BFLOAT16 = torch.bfloat16
Inputs = dict[str, Any]
CASES: dict[str, Callable[[int], Inputs]] = {
    "window_attention": lambda seed: case(
        97, [500 + 100 * seed, 300], 8, 2, 128, S=2048, q_start=[0, seed], dtype=BFLOAT16, seed=seed
    ),
    "noise_embed": lambda seed: changed(test_noise_embed.case(C=300, dtype=BFLOAT16), seed),
    "noise_mix": lambda seed: changed(test_noise_mix.case(C=300, dtype=BFLOAT16), seed),
    "nearest_token": lambda seed: changed(test_nearest_token.case(C=320, dtype=BFLOAT16), seed),
}
on_operators = pytest.mark.parametrize("name", CASES)


def changed(inputs: Inputs, seed: int) -> Inputs:
    """Other values of the same shapes: the images in another order."""
    return {
        key: value.roll(seed, 0) if key not in ("table", "times", "mean", "std", "bias") else value
        for key, value in inputs.items()
    }


def moved(inputs: Inputs, device: str | int = "cuda") -> Inputs:
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in inputs.items()}


def call(name: str, inputs: Inputs, backend: str = "triton") -> list[Tensor]:
    """The outputs, and what was written in place."""
    out = getattr(sjd2_kernels, name)(**inputs, backend=backend)
    return [*(out if isinstance(out, tuple) else [out]), *(inputs[k] for k in ("k_cache", "v_cache") if k in inputs)]


def assert_close(got: list[Tensor], want: list[Tensor]) -> None:
    """Integers alike, numbers to one rounding of bfloat16 (the kernels promise a tolerance across backends)."""
    for a, b in zip(got, want, strict=True):
        bound = 2**-7 if b.is_floating_point() else 0
        torch.testing.assert_close(a.cpu(), b, rtol=bound, atol=bound, equal_nan=True)


@on_operators
def test_capture_and_replay(name: str) -> None:
    """B24. Every replay gives the reference's results of its own inputs, and the bits of the same call outside."""
    static = moved(CASES[name](0))
    call(name, moved(CASES[name](0)))  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = call(name, static)
    for seed in range(3):
        inputs = CASES[name](seed)
        for key, value in moved(inputs).items():
            if isinstance(value, Tensor):
                static[key].copy_(value)
        graph.replay()
        eager = call(name, moved(inputs))
        for a, b in zip(outputs, eager, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
        assert_close(outputs, call(name, inputs, "reference"))


@on_operators
def test_no_synchronisation(name: str) -> None:
    inputs = moved(CASES[name](0))
    call(name, inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        call(name, inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_no_synchronisation_in_a_backward_pass() -> None:
    inputs = moved(CASES["noise_embed"](0))
    inputs["table"].requires_grad_()
    for mode in ("default", "error"):
        torch.cuda.set_sync_debug_mode(mode)
        try:
            rows = sjd2_kernels.noise_embed(**inputs, backend="triton")
            rows.backward(torch.ones_like(rows))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert inputs["table"].grad.isfinite().all()


@on_operators
def test_a_side_stream_of_every_device(name: str) -> None:
    """B23. Launches go to the current stream of the device of the tensors."""
    want = call(name, CASES[name](1), "reference")
    for device in range(torch.cuda.device_count()):
        inputs = moved(CASES[name](1), device)
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            got = call(name, inputs)
        stream.synchronize()
        assert all(x.device.index == device for x in got)
        assert_close(got, want)


@pytest.mark.usefixtures("triton_device")
@pytest.mark.parametrize("dtype", [BFLOAT16, torch.float16], ids=str)
@pytest.mark.parametrize(("M", "H", "Hkv"), [(97, 32, 32), (97, 32, 8), (1, 32, 8), (16, 32, 32)])
def test_error_at_real_shapes(M: int, H: int, Hkv: int, dtype: torch.dtype) -> None:
    """D = 128 and a prefix of 4000, in as many parts as the table says."""
    check_error(case(M, [4000, 3990], H, Hkv, 128, S=4352, q_start=[0, 0], dtype=dtype), "triton")
