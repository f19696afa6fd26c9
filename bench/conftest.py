"""Collects a run's comparisons, prints one table, writes them to bench/results/<device>/<date>-<commit>.json."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from . import harness, table

_comparisons: list[harness.Comparison] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--results", default=str(Path(__file__).parent / "results"), help="folder for the JSON of this run"
    )
    parser.addoption("--seconds", type=float, default=4.0, help="seconds of measuring per case")


@pytest.fixture
def compare(request: pytest.FixtureRequest, benchmark: Any) -> Callable[..., harness.Comparison]:
    """Times variants interleaved, records the comparison, gives pytest-benchmark our variant with the ratios."""

    def run(
        suite: str, case: str, variants: Mapping[str, Callable[[int], object]], targets: dict[str, float] | None = None
    ) -> harness.Comparison:
        timings = harness.interleave(variants, seconds=request.config.getoption("--seconds"))
        comparison = harness.Comparison(suite, case, timings, targets or {})
        _comparisons.append(comparison)
        benchmark.extra_info.update(comparison.record())
        benchmark.pedantic(variants[comparison.ours], args=(0,), rounds=3, iterations=1)
        return comparison

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not _comparisons:
        return
    run = {"machine": harness.machine(), "comparisons": [c.record() for c in _comparisons]}
    terminalreporter.section("comparisons")
    terminalreporter.write_line(table.render(run))
    now = datetime.datetime.now(datetime.UTC)
    run["date"] = now.isoformat(timespec="seconds")
    folder = Path(config.getoption("--results")) / run["machine"]["device"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y-%m-%d}-{run['machine']['commit']}.json"
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(run, indent=1) + "\n")
    os.replace(scratch, path)
    terminalreporter.write_line(f"written to {path}")
