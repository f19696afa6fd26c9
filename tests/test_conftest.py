"""The suite's own rules hold: allocations are poisoned, and a skip for a wrong reason fails the session (B32)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sjd2_kernels import native

SENTINEL = -7777777777


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_empty_floats_are_nan(dtype: torch.dtype) -> None:
    base = torch.zeros(2, 3, dtype=dtype)
    made = (
        torch.empty(2, 3, dtype=dtype),
        torch.empty_like(base),
        torch.empty_strided((2, 3), (1, 2), dtype=dtype),
        base.new_empty((2, 3)),
        base.new_empty_strided((2, 3), (1, 2)),
    )
    assert all(bool(tensor.isnan().all()) for tensor in made)


def test_empty_integers_hold_the_sentinel() -> None:
    assert torch.empty(3, dtype=torch.int64).tolist() == [SENTINEL] * 3
    assert torch.empty(3, dtype=torch.int32).tolist() == [-(2**31)] * 3
    assert torch.empty(3, dtype=torch.uint8).tolist() == [0] * 3
    assert torch.empty(3, dtype=torch.bool).tolist() == [True] * 3


@pytest.mark.parametrize("elements", [5, 2**20])
def test_memory_of_the_native_kernels_is_poisoned(elements: int) -> None:
    """Small tensors, and large ones in recycled memory."""
    assert 4 * 5 < native.module().RECYCLE_FROM <= 4 * 2**20
    assert bool(native.module().new_tensor([elements], 0).isnan().all())


def test_poison_keeps_compile_and_meta_tensors_alone() -> None:
    compiled = torch.compile(lambda x: torch.empty_like(x).copy_(x) + 1, fullgraph=True, backend="eager")
    assert compiled(torch.ones(3)).tolist() == [2, 2, 2]
    assert torch.empty(3, device="meta").shape == (3,)
    with torch.device("meta"):
        assert torch.nn.Linear(2, 3).weight.is_meta  # a large model without memory stays without


@pytest.fixture
def run_suite(
    pytestconfig: pytest.Config, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Runs a small suite, given as file name -> body, under our rule; returns its exit code and output."""
    rule = type(pytestconfig.pluginmanager.getplugin("skip-rule"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = tmp_path / "pytest.ini"
    settings.write_text("[pytest]\nmarkers = gpu: needs a CUDA device\n")

    def run(**files: str) -> tuple[int, str]:
        for name, body in files.items():
            tmp_path.joinpath(f"{name}.py").write_text(f"import pytest\n\n{body}\n")
        options = ["-q", "--noconftest", "--capture=no", "-p", "no:cacheprovider", "--import-mode=importlib"]
        code = pytest.main([*options, "-c", str(settings), str(tmp_path)], plugins=[rule()])
        return code, capfd.readouterr().out

    return run


def test_a_missing_gpu_may_skip(run_suite: Callable[..., tuple[int, str]]) -> None:
    code, output = run_suite(
        test_mark="@pytest.mark.gpu\ndef test_it(): assert False",
        test_word="def test_it(): pytest.skip('no CUDA device')",
        test_known="@pytest.mark.xfail\ndef test_it(): assert False",
    )
    assert code == 0, output
    assert "skips: 2 without a CUDA device, 0 others" in output


def test_no_other_reason_may_skip(run_suite: Callable[..., tuple[int, str]]) -> None:
    code, output = run_suite(
        test_import="def test_it(): pytest.importorskip('no_such_module_here')",
        test_module="pytest.skip('not today', allow_module_level=True)",
        test_passes="def test_it(): pass",
    )
    assert code == 1, output
    assert "skips: 0 without a CUDA device, 2 others" in output
    assert "fails the session: 1 skipped for 'not today'" in output
