"""The CUDA C++ backend: why it is not live, what its kernels compile to wherever nvcc is, and its results on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _sampler_cases import as_tensors, logits_case, verify_case
from torch import Tensor

import sjd2_kernels
from bench import aot_cuda
from sjd2_kernels import cuda, native, process_logits, verify_accept


def test_why_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cuda, "BUILD_FAILURE", tmp_path / "reason.txt")
    absent = cuda._reason(ModuleNotFoundError("No module named 'sjd2_kernels._cuda'"))
    assert absent.startswith("not built: nvcc was not found when this package was installed")
    assert cuda.ADVICE in absent
    assert cuda._reason(ImportError("undefined symbol: x")).startswith("undefined symbol: x")
    cuda.BUILD_FAILURE.write_text("cmake --build failed\n")
    assert "could not be built when this package was installed: cmake --build failed\n" in cuda._reason(ImportError(""))


def test_show_config_says_what_is_missing() -> None:
    loaded, line = cuda._load(), sjd2_kernels.show_config().split("\n  cuda       ", 1)[1]
    if isinstance(loaded, str):
        assert line.startswith(f"not live: {loaded.splitlines()[0]}")
    elif torch.cuda.is_available():
        assert line.startswith("live (built for 80-real 90a-real 100-real")
    else:
        assert line.startswith("not live: built for 80-real 90a-real 100-real 100-virtual, but torch finds no")
        assert loaded.problem() != ""


def test_tensors_of_another_device_are_not_taken() -> None:
    """What the played teams take (tests/_teams.py) as tensors of the CPU, the module for devices does not touch."""
    cond, whole = torch.zeros(1, 2, 5), torch.zeros(1, 2, dtype=torch.int64)
    values = [cond, *[None] * 10, cond.clone(), whole, whole.int()]
    assert native.module().team_process_logits(1, 1, 0, False, 32.0, *values)
    loaded = cuda._load()
    if isinstance(loaded, str):
        assert cuda.ADVICE in loaded
    else:
        assert not loaded.process_logits(0, 0, *values)


def test_every_kernel_compiles_without_spills() -> None:
    """Warnings are errors; no spills, no local memory, no fused or approximate arithmetic, and it fits a block."""
    if aot_cuda.find_nvcc() is None:
        with pytest.raises(RuntimeError, match="nvcc was not found"):
            aot_cuda.compile_kernels(90)
        assert isinstance(cuda._load(), str) or cuda.module().ARCHITECTURES  # built elsewhere, or not at all
        return
    rows = aot_cuda.compile_kernels(90)
    kinds = [
        f"process_logits, {t}, {c}" for t in ("bf16", "f16", "f32") for c in ("cells in the block", "cells parked in p")
    ]
    assert {row.kernel for row in rows} == {"verify_accept", *kinds}
    assert [(row.kernel, row.complaints) for row in rows if row.complaints] == []
    for row in rows:
        assert 16 < row.registers <= 65536 // row.options["threads"]
        assert row.blocks >= 1


def test_inexact_arithmetic_is_seen() -> None:
    wrong = ["fma.rn.f32 %f1, %f2, %f3, %f4;", "@%p1 div.full.f32 %f1, %f2, %f3;", "mul.f32 %f1, %f2, %f3;",
             "ex2.approx.f32 %f1, %f2;", "add.ftz.f32 %f1, %f2, %f3;", "mad.rn.f32 %f1, %f2, %f3, %f4;"]  # fmt: skip
    for line in wrong:
        assert len(aot_cuda.inexact(f"\t{line}")) == 1, line
    right = ["mul.rn.f32 %f1, %f2, %f3;", "div.rn.f32 %f1, %f2, %f3;", "mad.lo.s32 %r1, %r2, %r3, %r4;",
             "cvt.rn.f32.u32 %f1, %r1;", "sub.rn.f32 %f1, %f2, %f3;", "mul.wide.u32 %rd1, %r1, %r2;"]  # fmt: skip
    for line in right:
        assert aot_cuda.inexact(f"\t{line}") == [], line


def on_device(case: dict[str, Any]) -> dict[str, Any]:
    return {name: value.cuda() if isinstance(value, Tensor) else value for name, value in case.items()}


def assert_same(got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> None:
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert torch.equal(a.cpu(), b), f"output {i} differs first at {(a.cpu() != b).nonzero()[0].tolist()}"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("V", [1, 31, 999, 4097, 8192, 32768, 49153, 65536, 184622, 400001])
def test_process_logits_on_the_device(V: int, dtype: torch.dtype) -> None:
    """L3 against the CPU: one block, clusters of 2 and 4, and the row parked in p."""
    random = np.random.default_rng(V)
    for share in (0.3, 0.6, 1.0):
        case = logits_case(random, 3, 2 if V > 40000 else 8, V, dtype, share)
        assert_same(process_logits(**on_device(case), backend="cuda"), process_logits(**case, backend="reference"))


@pytest.mark.gpu
@pytest.mark.parametrize("V", [1, 31, 999, 4097, 8192, 65537, 184622])
def test_verify_accept_on_the_device(V: int) -> None:
    random = np.random.default_rng(V)
    for _ in range(12):
        case = as_tensors(verify_case(random, 3, 5, V))
        assert_same(verify_accept(**on_device(case), backend="cuda"), verify_accept(**case, backend="reference"))


@pytest.mark.gpu
def test_capture_and_replay_with_other_inputs() -> None:
    random = np.random.default_rng(3)
    first, second = (logits_case(random, 2, 16, 8192, torch.bfloat16, 1.0) for _ in range(2))
    static = on_device(first)
    process_logits(**static, backend="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = process_logits(**static, backend="cuda")
    for case in (second, first):
        for name, value in case.items():
            static[name].copy_(value)
        graph.replay()
        assert_same(outputs, process_logits(**case, backend="reference"))
