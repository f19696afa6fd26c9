"""Collects a run's comparisons, prints one table, writes them to bench/results/<device>/<date>-<commit>.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import case, harness, records, roofline, suites, table
from .clock import HostClock, clock_of

_comparisons: list[harness.Comparison] = []
_ceilings: list[roofline.Ceilings] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", default=str(records.RESULTS), help="folder for the JSON of this run")
    parser.addoption("--seconds", type=float, default=2.0, help="seconds of measuring per case")


@pytest.fixture(scope="session")
def ceilings() -> roofline.Ceilings:
    """What the machine can do, measured once."""
    _ceilings.append(roofline.measure_ceilings("cpu"))
    return _ceilings[0]


@pytest.fixture
def compare(
    request: pytest.FixtureRequest, benchmark: Any, ceilings: roofline.Ceilings
) -> Callable[[case.Spec], harness.Comparison]:
    """Error gate, then variants interleaved; pytest-benchmark gets our variant with the ratios."""

    def run(spec: case.Spec) -> harness.Comparison:
        clock = clock_of("cpu")
        made = suites.build(spec, clock, "cpu")
        comparison = case.run(made, clock, ceilings, seconds=request.config.getoption("--seconds"))
        _comparisons.append(comparison)
        benchmark.extra_info.update(comparison.record())
        ours = HostClock().prepare(made.ours, made.buffers)
        benchmark.pedantic(ours.measure, args=(0,), rounds=3, iterations=1)
        return comparison

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not _comparisons:
        return
    run = records.assemble("cpu", _ceilings[0], _comparisons)
    terminalreporter.section("comparisons")
    terminalreporter.write_line(table.render(run))
    path = records.store(run, Path(config.getoption("--results")))
    terminalreporter.write_line(f"written to {path}")
