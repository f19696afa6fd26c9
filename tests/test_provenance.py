"""The words beside numbers: machine, threads, torch, and the commit or the version."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sjd2.provenance import commit, machine, processor

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
