"""python -m bench: cases by name, a gate that fails the run but not the rest, a limit that says what it left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import records, roofline, suites
from bench.case import WrongResult


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "measure_ceilings", lambda device: roofline.Ceilings(1e10, {"float32": 1e11}))


def call(tmp_path: Path, *more: str) -> tuple[int, dict[str, Any]]:
    words = ["--device", "cpu", "--grid", "smoke", "--seconds", "0", "--out", str(tmp_path), *more]
    status = command.main(words)
    path = records.newest("cpu", folder=tmp_path)
    assert path is not None
    return status, records.load(path)


def test_one_suite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, run = call(tmp_path, "--suites", "commit", "noise", "--only", "noise_embed")
    assert status == 0
    assert [each["suite"] for each in run["comparisons"]] == ["noise_embed"]
    out = capsys.readouterr().out
    assert "% of the floor" in out
    assert "1 cases, 0 failed" in out


def test_a_failed_gate_is_reported_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build = suites.build

    def broken(spec: Any, *rest: Any) -> Any:
        made = build(spec, *rest)
        if spec.operator == "noise_mix":

            def gate() -> dict[str, float]:
                raise WrongResult("noise_mix: error 1")

            made.gate = gate
        return made

    monkeypatch.setattr(suites, "build", broken)
    status, run = call(tmp_path, "--suites", "noise")
    assert status == 1
    assert [each["suite"] for each in run["comparisons"]] == ["noise_embed"]
    assert "noise_mix: error 1" in run["failed"][0]
    assert "noise_mix: error 1" in capsys.readouterr().err


def test_what_did_not_fit_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, run = call(tmp_path, "--suites", "noise", "--limit", "-1")
    assert status == 0
    assert len(run["late"]) == 2
    assert "2 cases did not fit" in capsys.readouterr().out


def test_headline_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        call(tmp_path, "--headline", "--suites", "noise")  # the smoke grid marks none
    with pytest.raises(SystemExit):
        call(tmp_path, "--only", "no such case")
