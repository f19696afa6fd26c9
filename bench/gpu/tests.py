"""The tests that need a device, and those of the Triton kernels, which run compiled where there is one.

Between them: samplers bit for bit, attention to its tolerance, graphs with changed inputs, steps without
synchronisation, poisoned allocations (tests/conftest.py). Several processes share them (shard.py): compiling takes most
of the time, and a kernel that takes its process down costs the rest of its share only.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..aot import ROOT
from .process import environment, module
from .verdict import ABSENT, FAIL, PASS, Setting, Verdict

MOST_SHARDS = 12
GPU_MARK = re.compile(r"^(?:pytestmark = |@)pytest\.mark\.gpu$", re.MULTILINE)
MISSED = "not run"


def files(triton: bool = True) -> list[Path]:
    """Test files with tests for a device; those of Triton kernels are all for one."""
    found = sorted(ROOT.glob("tests/test_*.py"))
    return [p for p in found if (triton and p.stem.startswith("test_triton")) or GPU_MARK.search(p.read_text())]


def check(setting: Setting) -> Iterator[Verdict]:
    """A verdict per file; without a device one process shows that the marked tests are collected and skipped."""
    if setting.device == "cpu":
        arguments, shards = [*map(str, files(triton=False)), "-m", "gpu"], 1
    else:
        arguments, shards = [*map(str, files())], max(1, min(MOST_SHARDS, (os.cpu_count() or 4) - 2))
    yield from run(arguments, shards, setting)


def run(arguments: list[str], shards: int, setting: Setting) -> Iterator[Verdict]:
    """Run pytest in ``shards`` processes; what counts is the report of every test, not only exit codes."""
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(shards) as pool:
        reports = [Path(folder, f"{i}.jsonl") for i in range(shards)]
        runs = [pool.submit(_shard, arguments, i, shards, report, setting) for i, report in enumerate(reports)]
        ends = [ended.result() for ended in runs]
        lines = [line for report in reports if report.exists() for line in report.read_text().splitlines()]
    yield from judge([json.loads(line) for line in lines], ends)


def _shard(arguments: list[str], index: int, shards: int, report: Path, setting: Setting) -> str:
    """Run one share; returns why it ended early, or nothing."""
    command = module("pytest", "-q", "-p", "no:cacheprovider", "-p", "bench.gpu.shard", *arguments)
    more = {"SJD2_SHARD": f"{index}/{shards}", "SJD2_SHARD_REPORT": str(report)}
    kept = {"TRITON_INTERPRET": os.environ["TRITON_INTERPRET"]} if "TRITON_INTERPRET" in os.environ else {}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment(**more, **kept), text=True, errors="replace",
            timeout=max(setting.left, 0), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "out of time"
    # 1: a test failed, which the report says; 5: a share without tests
    return "" if done.returncode in (0, 1, 5) else f"pytest ended with {done.returncode}\n{done.stdout}"


def judge(lines: list[dict[str, Any]], ends: list[str]) -> Iterator[Verdict]:
    """A verdict per file from the lines of the reports, one per share that ended early."""
    outcomes: dict[str, dict[str, dict[str, Any]]] = {}
    for line in lines:
        of_file = outcomes.setdefault(line["file"], {})
        if of_file.get(line["test"], {}).get("outcome") != "failed":  # else a clean end would hide a failed test
            of_file[line["test"]] = line
    for file, tests in sorted(outcomes.items()):
        kinds = [MISSED if line["outcome"] == "planned" else line["outcome"] for line in tests.values()]
        found: dict[str, Any] = {kind: kinds.count(kind) for kind in ("passed", "failed", "skipped", MISSED)}
        found["failures"] = [f"{t}: {line['message']}" for t, line in tests.items() if line["outcome"] == "failed"]
        text = ", ".join(f"{found[kind]} {kind}" for kind in ("passed", "failed", "skipped", MISSED) if found[kind])
        if found["failed"] or found[MISSED]:
            yield Verdict("tests", file, FAIL, "\n".join([text, *found["failures"]]), found)
        elif not found["passed"]:
            yield Verdict("tests", file, ABSENT, f"{text} (no CUDA device)", found)
        else:
            yield Verdict("tests", file, PASS, text, found)
    yield from (Verdict("tests", f"share {i}", FAIL, end) for i, end in enumerate(ends) if end)
    if not outcomes:
        yield Verdict("tests", "all", FAIL, "no test was collected")
