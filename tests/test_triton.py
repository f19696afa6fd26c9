"""Whether the Triton backend is live, and why not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from _live import TRITON_DEVICE

from sjd2_kernels import triton


def test_live_with_the_interpreter_or_a_device() -> None:
    assert triton.why_not() is None
    assert triton.interpreting() is not torch.cuda.is_available()
    assert triton.describe().startswith(f"triton {triton.version()}")


def test_the_environment_reaches_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The raw operator under SJD2_BACKEND=triton, which launches a kernel here."""
    launched = []
    monkeypatch.setattr("sjd2_kernels.triton.process_logits.launch", lambda *args, **kwargs: launched.append(args[0]))
    monkeypatch.setenv("SJD2_BACKEND", "triton")
    torch.ops.sjd2.process_logits(torch.zeros(1, 1, 4, device=TRITON_DEVICE))
    assert launched == ["process_logits"]


def in_a_new_process(program: str, **environment: str) -> str:
    """What a program prints that starts without the interpreter and without a device."""
    settings = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", program], env=settings | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_a_device_it_says_what_to_do() -> None:
    out = in_a_new_process("import sjd2_kernels; sjd2_kernels.show_config()")
    assert "triton     not live: torch finds no CUDA device; TRITON_INTERPRET=1 in the environment" in out
    assert "commit: reference" in out.splitlines()[-1]


def test_without_the_package_it_says_what_to_do() -> None:
    out = in_a_new_process("import sys; sys.modules['triton'] = None; import sjd2_kernels; sjd2_kernels.show_config()")
    assert "triton     not live: the package triton is not installed: pip install 'sjd2-kernels[triton]'" in out


@pytest.mark.parametrize("asked", [{"SJD2_BACKEND": "triton"}, {}])
def test_a_cpu_tensor_never_gets_there_by_itself(asked: dict[str, str]) -> None:
    program = "import torch, sjd2_kernels\ntry: sjd2_kernels.process_logits(torch.zeros(1, 1, 4)); print('ran')\n"
    program += "except ValueError as error: print(error)"
    out = in_a_new_process(program, **asked)
    assert ("backend 'triton' does not serve cpu tensors" in out) if asked else out == "ran\n"
