"""Which launch configuration runs: the table's first fitting entry, or under SJD2_AUTOTUNE=1 the measured one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sjd2_kernels.triton import autotune
from sjd2_kernels.triton.launch import Config, fitting, launch

A = Config("any card, small", 4, case="small")
B = Config("Ampere, big", 8, case="big", arch=(80,))
C = Config("Hopper and later, big", 16, 2, {"BLOCK": 64}, case="big", arch=(90, 100))
D = Config("another for Hopper, big", 8, case="big", arch=(90,))
E = Config("Ampere, other", 8, case="other", arch=(80,))
TABLE = (A, B, C, D, E)


@pytest.mark.parametrize(
    ("case", "arch", "expected"),
    [
        ("small", 75, [A]),
        ("big", 75, [B]),
        ("big", 80, [B]),
        ("big", 86, [B]),
        ("big", 90, [C, D]),
        ("big", 103, [C]),
        ("other", 100, [E]),
        ("huge", 90, []),
    ],
)
def test_fitting(case: str, arch: int, expected: list[Config]) -> None:
    assert list(fitting(TABLE, case, arch)) == expected


def test_options_are_launch_arguments() -> None:
    assert C.options() == {"BLOCK": 64, "num_warps": 16, "num_stages": 2}


def test_launch_takes_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where tuning is on but no device is there to time on: nothing is tried out."""
    for setting in ("0", "1"):
        monkeypatch.setenv("SJD2_AUTOTUNE", setting)
        ran: list[Config] = []
        launch("op", TABLE, torch.empty(0), ran.append, case="big")
        assert ran == [C]


def test_a_case_without_a_configuration_is_an_error() -> None:
    with pytest.raises(ValueError, match="op: no launch configuration for case 'huge' on architecture 90"):
        launch("op", TABLE, torch.empty(0), print, case="huge")


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Config, list[Config]]]:
    """Tunes C against D with D measured faster; returns the choice and what was run to make it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(autotune, "_known", {})

    def tune(*key: object, forget: bool = False) -> tuple[Config, list[Config]]:
        ran: list[Config] = []

        def measure(call: Callable[[], object]) -> float:
            call()
            return float(ran[-1] is C)

        if forget:
            autotune._known.clear()
        return autotune.fastest("op", [C, D], ran.append, key, measure), ran

    return tune


def test_each_is_timed_once_and_the_fastest_remembered(timed: Callable[..., tuple[Config, list[Config]]]) -> None:
    assert timed("big", 1) == (D, [C, D])
    assert timed("big", 1) == (D, [])
    assert timed("big", 1, forget=True) == (D, [])  # from the file
    assert timed("big", 2) == (D, [C, D])  # another shape
    assert len(json.loads(autotune.cache_file().read_text())) == 2


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"x": 3}'])
def test_a_torn_file_is_measured_anew(timed: Callable[..., tuple[Config, list[Config]]], content: str) -> None:
    """B27. Whatever the file holds: no error, a right choice, and a whole file after it."""
    autotune.cache_file().parent.mkdir()
    autotune.cache_file().write_text(content)
    assert timed("big")[0] is D
    assert timed("big", forget=True) == (D, [])


def test_writers_at_once_leave_a_whole_file(timed: Callable[..., tuple[Config, list[Config]]]) -> None:
    """B27. At every moment the file is valid JSON."""
    threads = [threading.Thread(target=timed, args=("big", i)) for i in range(16)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if autotune.cache_file().exists():
            json.loads(autotune.cache_file().read_text())
    for thread in threads:
        thread.join()
    assert json.loads(autotune.cache_file().read_text())
    assert [p.name for p in autotune.cache_file().parent.iterdir()] == ["autotune.json"]
