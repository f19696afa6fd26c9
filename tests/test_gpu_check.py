"""bench.gpu_check: the whole script where there is no GPU, and what becomes of checks that crash, hang or raise."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from sjd2.policies import POLICIES

from bench import gpu_check
from bench.gpu import process, verdict
from bench.gpu.verdict import ABSENT, FAIL, PASS, Setting, Verdict
from sjd2_kernels.schemas import SCHEMAS


def test_the_whole_script_without_a_gpu(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Six processes, as on a device; a generous limit, since the machine may be busy."""
    out = tmp_path / "new" / "out.json"
    code = gpu_check.main(["--device", "cpu", "--interpret", "--seconds", "3000", "--out", str(out)])
    said, record = capfd.readouterr().out.splitlines(), json.loads(out.read_text())
    failed = [v for v in record["verdicts"] if v["outcome"] == FAIL]
    assert (code, failed) == (0, [])
    assert [*dict.fromkeys(v["check"] for v in record["verdicts"])] == list(gpu_check.UNTIL)
    assert re.fullmatch(rf"\d+ passed, 0 failed, \d+ absent, \d+ s: {out}", said[-1])
    of: dict[str, list[dict[str, Any]]] = {}
    for v in record["verdicts"]:
        of.setdefault(v["check"], []).append(v)
        assert any(line.startswith(f"{v['outcome']:<6}  {v['check']:<11}  {v['name']}") for line in said)
    timed = {(v["data"]["operator"], v["data"]["backend"]): v["data"]["median"] for v in of["operators"][1:]}
    assert set(timed) == {(name, backend) for name in SCHEMAS for backend in ("native", "triton")}
    assert min(timed.values()) > 0
    assert [v["data"]["policy"] for v in of["decoding"]] == list(POLICIES)
    assert {v["outcome"] for v in [*of["tests"], *of["sanitizer"]]} == {ABSENT}
    assert sum(v["data"]["skipped"] for v in of["tests"]) >= 50
    assert of["environment"][0]["data"]["torch"]


SAY = 'print(\'{mark}\' + \'{{"check": "%s", "name": "%s", "outcome": "%s"}}\', flush=True)\n'
PROGRAMS = {
    "environment": SAY % ("environment", "a", PASS),
    "build": SAY % ("build", "b", PASS)
    + "print('illegal memory access', flush=True)\nimport os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    "operators": SAY % ("operators", "c", PASS) + "import time\ntime.sleep(600)",
    "decoding": "print('says nothing')",
    "tests": SAY % ("tests", "d", FAIL),
}


def test_crashes_and_hangs_cost_their_own_check_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def module(name: str, *arguments: str) -> list[str]:
        return [sys.executable, "-S", "-c", PROGRAMS[arguments[3]].format(mark=gpu_check.MARK)]

    monkeypatch.setattr(process, "module", module)
    monkeypatch.setattr(gpu_check, "UNTIL", {name: float(name != "operators") for name in PROGRAMS})
    out = tmp_path / "out.json"
    assert gpu_check.main(["--seconds", "60", "--out", str(out), "--only", *PROGRAMS]) == 1
    record = json.loads(out.read_text())
    found = {(v["check"], v["name"]): (v["outcome"], v["detail"]) for v in record["verdicts"]}
    assert found[("environment", "a")] == found[("build", "b")] == found[("operators", "c")] == (PASS, "")
    assert found[("build", "the check")] == (FAIL, "its process ended with -11\nillegal memory access")
    assert found[("operators", "the check")] == (FAIL, "out of time")
    assert found[("decoding", "the check")] == (FAIL, "its process ended with 0\nsays nothing")
    assert found[("tests", "d")][0] == FAIL
    assert record["counts"] == {PASS: 3, FAIL: 4}
    assert "3 passed, 4 failed, 0 absent" in capsys.readouterr().out


def test_a_check_that_raises_says_where(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.gpu import build

    def check(setting: Setting) -> Any:
        yield Verdict("build", "first", PASS)
        raise KeyError("second")

    monkeypatch.setattr(build, "check", check)
    assert gpu_check.main(["--device", "cpu", "--single", "build", "inf"]) == 0
    lines = [line.removeprefix(gpu_check.MARK) for line in capsys.readouterr().out.splitlines()]
    first, second = (Verdict(**json.loads(line)) for line in lines)
    assert (first.name, first.outcome) == ("first", PASS)
    assert (second.name, second.outcome) == ("the check", FAIL)
    assert second.detail.startswith("KeyError: 'second'\nat test_gpu_check.py:")


def test_judged_and_the_line_of_a_verdict() -> None:
    good = verdict.judged("operators", "commit", lambda: ("3 us", {"median": 3.0}))
    assert (good.outcome, good.data) == (PASS, {"median": 3.0})
    assert good.line() == "pass    operators    commit: 3 us"
    kept = Verdict("build", "x", ABSENT)
    assert verdict.judged("build", "x", lambda: kept) is kept
    long = Verdict("tests", "y", FAIL, "head\n" + "\n".join(map(str, range(40)))).line().splitlines()
    assert (long[0], long[1], long[-1]) == ("FAIL    tests        y: head", "          28", "          39")


def test_refusals_and_the_default_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_check.main(["--interpret"])
    assert "--interpret goes with --device cpu" in capsys.readouterr().err
    monkeypatch.setattr("bench.machine.gpu_name", lambda: "NVIDIA H100 80GB HBM3")
    path = gpu_check._default_file("cuda")
    assert path.parent.name == "nvidia-h100-80gb-hbm3"
    assert path.parent.parent == gpu_check.ROOT / "bench" / "results"
    assert path.name.endswith("-gpu_check.json")
    assert gpu_check._default_file("cpu").parent.name == "cpu"


def test_a_child_sees_the_package_under_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no choice of backend; the checkout's own package where none is installed."""
    import importlib.metadata

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setenv("SJD2_BACKEND", "reference")
    monkeypatch.setenv("PYTHONPATH", "/x")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1")
    installed = process.environment(TRITON_INTERPRET="1")
    assert (installed["PYTHONPATH"], installed["TRITON_INTERPRET"], installed["PYTHONSAFEPATH"]) == ("/x", "1", "1")
    assert "SJD2_BACKEND" not in installed
    monkeypatch.setattr(importlib.metadata, "version", absent)
    bare = process.environment()
    assert bare["PYTHONPATH"].split(":") == [str(process.ROOT), str(process.ROOT / "python"), "/x"]
    assert "TRITON_INTERPRET" not in bare
