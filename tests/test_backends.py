"""Which implementation runs: the order of choice, the errors, show_config(), and an import that stays light."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sjd2_kernels
from sjd2_kernels import backends
from sjd2_kernels.schemas import SCHEMAS


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what is live, as {backend: reason or None}, and makes ``select`` return names instead of functions."""
    monkeypatch.delenv("SJD2_BACKEND", raising=False)
    monkeypatch.setattr(backends, "implementation", lambda operator, backend: f"{backend}.{operator}")
    backends._log_missing.cache_clear()

    def set_reasons(**reasons: str | None) -> None:
        monkeypatch.setattr(backends, "why_not", reasons.get)

    set_reasons()
    return set_reasons


def test_best_live_backend_of_the_device(live: Callable[..., None]) -> None:
    assert backends.select("commit", "cpu") == "native.commit"
    assert backends.select("commit", "cuda") == "triton.commit"
    live(native="not built", triton="no CUDA device")
    assert backends.select("commit", "cpu") == "reference.commit"
    assert backends.select("commit", "cuda") == "reference.commit"


def test_argument_before_environment_before_best(live: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SJD2_BACKEND", "reference")
    assert backends.select("commit", "cpu") == "reference.commit"
    assert backends.select("commit", "cpu", "native") == "native.commit"
    monkeypatch.setenv("SJD2_BACKEND", "")
    assert backends.select("commit", "cpu") == "native.commit"


def test_a_backend_passed_over_is_logged_once(live: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    live(native="not built\nbecause of this")
    with caplog.at_level(logging.WARNING, "sjd2_kernels"):
        for _ in range(3):
            backends.select("commit", "cpu")
    assert caplog.messages == [
        "backend 'native' is not available, a slower one runs: not built (sjd2_kernels.show_config() says more)"
    ]


def test_triton_serves_cpu_tensors_in_its_interpreter_only(
    live: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sjd2_kernels.triton.interpreting", lambda: True)
    assert backends.select("commit", "cpu", "triton") == "triton.commit"
    assert backends.select("commit", "cpu") == "native.commit"
    monkeypatch.setattr("sjd2_kernels.triton.interpreting", lambda: False)
    with pytest.raises(ValueError, match="backend 'triton' does not serve cpu tensors, use native or reference"):
        backends.select("commit", "cpu", "triton")


@pytest.mark.parametrize("by_environment", [False, True])
@pytest.mark.parametrize(
    ("asked", "device", "error", "message"),
    [
        ("cudnn", "cpu", ValueError, "commit: backend must be one of native, triton, cuda, reference, got 'cudnn'"),
        ("native", "cuda", ValueError, "commit: backend 'native' does not serve cuda tensors, use triton or reference"),
        ("native", "cpu", RuntimeError, "commit: backend 'native' is not available: no compiler"),
        ("cuda", "cuda", ValueError, "commit: backend 'cuda' has no kernel for it, use triton or reference"),
        ("cuda", "cpu", ValueError, "commit: backend 'cuda' does not serve cpu tensors, use native or reference"),
        (None, "mps", RuntimeError, "commit: no backend serves mps tensors"),
    ],
)
def test_errors_never_fall_back(
    live: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    asked: str | None,
    device: str,
    error: type[Exception],
    message: str,
    by_environment: bool,
) -> None:
    live(native="no compiler")
    if by_environment and asked:
        monkeypatch.setenv("SJD2_BACKEND", asked)
        asked = None
    with pytest.raises(error) as caught:
        backends.select("commit", device, asked)
    assert str(caught.value) == message


def test_a_wrong_backend_is_an_error_of_the_public_function() -> None:
    with pytest.raises(ValueError, match="process_logits: backend must be one of native, triton"):
        sjd2_kernels.process_logits(torch.zeros(1, 1, 4), backend="fast")


def test_environment_reaches_the_raw_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SJD2_BACKEND", "fast")
    with pytest.raises(ValueError, match="backend must be one of native, triton, cuda, reference, got 'fast'"):
        torch.ops.sjd2.process_logits(torch.zeros(1, 1, 4))


def test_show_config_names_every_backend_and_operator(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SJD2_BACKEND", "reference")
    text = sjd2_kernels.show_config()
    assert capsys.readouterr().out == text + "\n"
    assert text.startswith(f"sjd2-kernels {sjd2_kernels.__version__}, torch {torch.__version__}, ")
    assert f"{torch.get_num_threads()} threads" in text
    assert "  native     live (instruction set " in text
    assert "  reference  live" in text
    assert "  SJD2_BACKEND reference" in text
    assert all(name in text for name in SCHEMAS)


def test_show_config_says_why_a_backend_is_missing(live: Callable[..., None]) -> None:
    live(native="it could not be built.\nNo compiler was found", cuda="no nvcc")
    lines = sjd2_kernels.show_config().splitlines()
    assert lines[1] == "  native     not live: it could not be built."
    assert lines[2].strip() == "No compiler was found"
    assert lines[3].startswith("  triton     live (triton 3.")
    assert lines[4] == "  cuda       not live: no nvcc"
    assert "SJD2_BACKEND not set" in lines[6]
    assert lines[7].endswith("commit: reference")


def test_cuda_goes_before_triton_only_where_it_was_measured(
    live: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backends.select("process_logits", "cuda") == "triton.process_logits"
    monkeypatch.setattr(backends, "CUDA_BEFORE_TRITON", {"process_logits": "bench/results/some.json"})
    assert backends.select("process_logits", "cuda") == "cuda.process_logits"
    assert backends.select("verify_accept", "cuda") == "triton.verify_accept"
    live(triton="not installed")
    assert backends.select("verify_accept", "cuda") == "cuda.verify_accept"
    assert backends.select("commit", "cuda") == "reference.commit"
    live()
    monkeypatch.setattr(backends, "_detail", lambda name: "")
    lines = backends.show_config().splitlines()
    assert "  cuda       process_logits: cuda" in lines
    others = (name for name in SCHEMAS if name != "process_logits")
    assert f"  cuda       {', '.join(others)}: triton" in lines


def test_backends_serve_what_they_have_a_file_for() -> None:
    derivative = {"noise_embed_backward"}
    for backend in backends.BACKENDS:
        folder = Path(backends.__file__).parent / backend
        operators = backends.OPERATORS_OF.get(backend, {*SCHEMAS, *derivative})
        assert set(operators) == {path.stem for path in folder.glob("*.py")} & ({*SCHEMAS} | derivative)


def test_the_table_cites_measurements() -> None:
    root = Path(__file__).resolve().parent.parent
    for operator, file in backends.CUDA_BEFORE_TRITON.items():
        assert operator in backends.OPERATORS_OF["cuda"]
        assert root.joinpath(file).is_file(), f"{operator} names {file}, which is not there"
    for operator in backends.OPERATORS_OF["cuda"]:
        assert backends.implementation(operator, "cuda").__name__ == operator


LIGHT_IMPORT = """
import sys, time
for name in ("triton", "transformers"):
    sys.modules[name] = None  # import raises ImportError, as where it is not installed
import torch
assert not torch.cuda.is_available()
before = {name.partition(".")[0] for name in sys.modules}
start = time.perf_counter()
import sjd2_kernels
seconds = time.perf_counter() - start
p = torch.full((1, 2, 4), 0.25)
accept_len, tokens, ratio = torch.ops.sjd2.verify_accept(torch.tensor([[0, 1]]), p, p, *torch.tensor([[0], [0]]))
assert accept_len.tolist() == [2]
new = {name.partition(".")[0] for name in sys.modules} - before - set(sys.stdlib_module_names)
print(f"{seconds:.3f}", *sorted(new))
"""


def test_import_with_cuda_hidden_and_triton_absent() -> None:
    """Point 9 of the deciding tests: works without either, takes little, and brings in nothing but torch."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "SJD2_BACKEND": "reference"}
    done = subprocess.run([sys.executable, "-c", LIGHT_IMPORT], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    seconds, *new = done.stdout.split()
    assert new == ["sjd2_kernels"]
    assert float(seconds) < 1.0  # 0.03 s on an idle machine
