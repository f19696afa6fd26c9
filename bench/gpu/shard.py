"""A pytest plugin: runs one share of the tests for a device, and writes down each result at once.

    SJD2_SHARD=2/8 SJD2_SHARD_REPORT=report.jsonl python -m pytest -p bench.gpu.shard tests/...

Neighbours go to different shares, so that slow files are spread. A process that is stopped leaves what it has written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


def wanted(item: pytest.Item) -> bool:
    """Marked gpu, or of a Triton kernel, which runs compiled where a device is."""
    return item.get_closest_marker("gpu") is not None or item.path.stem.startswith("test_triton")


class Shard:
    """Selects and reports."""

    def __init__(self, index: int, shards: int, report: Path) -> None:
        self.index, self.shards, self.report = index, shards, report

    def say(self, **record: Any) -> None:
        """A line of the report."""
        with self.report.open("a") as file:
            file.write(json.dumps(record) + "\n")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep this share, and say what it is."""
        items[:] = [item for item in items if wanted(item)][self.index :: self.shards]
        for item in items:
            self.say(file=item.path.stem, test=item.nodeid, outcome="planned")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The result of a test, or of what prepares or ends it."""
        if report.when == "call" or report.outcome != "passed":
            text = "" if report.outcome != "failed" else (report.longreprtext.strip().splitlines() or [""])[-1]
            name = report.nodeid.partition("::")[0]
            self.say(file=Path(name).stem, test=report.nodeid, outcome=report.outcome, message=_said(report) or text)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported."""
        if report.failed:
            text = report.longreprtext.strip().splitlines() or [""]
            self.say(file=Path(report.nodeid).stem, test=report.nodeid, outcome="failed", message=text[-1])


def _said(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message.splitlines()[0][:300] if crash is not None and crash.message else ""


def pytest_configure(config: pytest.Config) -> None:
    """Put the share to work."""
    index, shards = map(int, os.environ["SJD2_SHARD"].split("/"))
    config.pluginmanager.register(Shard(index, shards, Path(os.environ["SJD2_SHARD_REPORT"])), "shard")
