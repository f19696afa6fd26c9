"""The words beside numbers: machine, threads, torch, and the commit or the version."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sjd2.provenance import commit, installed, machine, nvidia_smi, processor

import sjd2_kernels


def test_machine_names_threads_and_torch() -> None:
    text = machine(torch.device("cpu"))
    assert text.endswith(f", {torch.get_num_threads()} threads, torch {torch.__version__}")
    assert text.startswith(f"{processor()}, ")
    assert len(processor()) > 2


def test_machine_names_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert machine(torch.device("cuda", 3)).startswith("GPU 3, ")


@pytest.mark.parametrize(("said", "expected"), [("abc1234-dirty\n", "abc1234-dirty"), ("", sjd2_kernels.__version__)])
def test_commit_is_gits_or_the_version(monkeypatch: pytest.MonkeyPatch, said: str, expected: str) -> None:
    def git(command: list[str], **_: Any) -> SimpleNamespace:
        assert command[0] == "git"
        return SimpleNamespace(stdout=said)

    monkeypatch.setattr(subprocess, "run", git)
    assert commit() == expected


def test_versions_of_packages() -> None:
    assert installed("torch") == torch.__version__
    assert installed("no-such-package") is None


def test_nvidia_smi_says_a_line_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> SimpleNamespace:
        assert command[:2] == ["nvidia-smi", "--query-gpu=name,driver_version"]
        return SimpleNamespace(stdout="GPU X, 570.1\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert nvidia_smi("name,driver_version") == "GPU X, 570.1"
    for error in (FileNotFoundError(), subprocess.CalledProcessError(9, "nvidia-smi")):

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(subprocess, "run", fail)
        assert nvidia_smi("name") == ""
