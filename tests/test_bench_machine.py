"""What is noted of a machine."""

from __future__ import annotations

import doctest
import subprocess
from typing import Any

import pytest

from bench import machine


def test_gpu_notes_are_read_by_name() -> None:
    said = "580.159.04, 1980 MHz, 1980 MHz, 2619 MHz, 34, 71.20 W, 700.00 W, Enabled\n"
    found = machine.read_gpu_notes(said)
    assert (found["driver"], found["sm_clock"], found["power_limit"]) == ("580.159.04", "1980 MHz", "700.00 W")
    assert list(found) == list(machine.GPU_FIELDS.values())


def test_what_the_driver_does_not_say_is_missing() -> None:
    assert machine.read_gpu_notes("580, [N/A], 1980 MHz") == {"driver": "580", "sm_clock_max": "1980 MHz"}
    assert machine.read_gpu_notes("") == {}


def test_without_nvidia_smi_nothing_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **kwargs: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert machine.gpu_notes() == {}
    assert machine.gpu_name() == "cuda"
    assert machine.commit_id() == "unknown"


def test_a_changed_tree_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"rev-parse": "abc1234\n", "status": " M file\n"}

    def run(command: list[str], **kwargs: Any) -> Any:
        return subprocess.CompletedProcess(command, 0, said[command[1]])

    monkeypatch.setattr(subprocess, "run", run)
    assert machine.commit_id() == "abc1234+"
    said["status"] = ""
    assert machine.commit_id() == "abc1234"


def test_the_head_of_a_file_on_the_cpu() -> None:
    held = machine.machine("cpu")
    assert held["device"] == "cpu"
    assert {"model", "cores", "threads", "native", "load", "torch", "python", "commit"} <= set(held)


def test_examples_run() -> None:
    assert doctest.testmod(machine).failed == 0
