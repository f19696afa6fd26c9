"""Where results lie, and which file is the newest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import records
from bench.roofline import Ceilings


def run(date: str, commit: str = "abc1234", device: str = "cpu") -> dict[str, Any]:
    return {"date": date, "machine": {"device": device, "commit": commit}, "comparisons": []}


def test_paths(tmp_path: Path) -> None:
    path = records.store(run("2026-11-25T10:00:00+00:00", "abc1234+"), tmp_path)
    assert path == tmp_path / "cpu" / "2026-11-25-abc1234.json"
    path = records.store(run("2026-11-25T10:00:00+00:00", device="nvidia-h100"), tmp_path, "e2e")
    assert path == tmp_path / "nvidia-h100" / "2026-11-25-abc1234-e2e.json"
    assert records.load(path)["machine"]["commit"] == "abc1234"
    assert not list(tmp_path.rglob(".*"))


def test_the_newest_is_by_date_and_kind(tmp_path: Path) -> None:
    assert records.newest("cpu", folder=tmp_path) is None
    first = records.store(run("2026-11-25T10:00:00+00:00", "fff"), tmp_path)
    second = records.store(run("2026-11-25T11:00:00+00:00", "aaa"), tmp_path)
    other = records.store(run("2026-11-26T11:00:00+00:00", "aaa"), tmp_path, "e2e")
    assert records.newest("cpu", folder=tmp_path) == second != first
    assert records.newest("cpu", "e2e", tmp_path) == other
    assert records.newest("nvidia-h100", folder=tmp_path) is None


def test_a_run_says_what_it_was_measured_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "machine", lambda device: {"device": device})
    held = records.assemble("cpu", Ceilings(1.0, {"float32": 2.0}), [])
    assert held["ceilings"] == {"copy": 1.0, "matrix": {"float32": 2.0}}
    assert (held["machine"], held["noise"], held["comparisons"]) == ({"device": "cpu"}, 0.1, [])
    assert held["date"].endswith("+00:00")
