"""`sjd2 doctor`: text, JSON and exit codes."""

from __future__ import annotations

import json

import pytest
from sjd2 import cli, doctor


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", *arguments])
    return stop.value.code or 0


def test_text_for_a_bug_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    text = capsys.readouterr().out
    for heading in ("system:", "packages:", "backends:", "trial:", "memory:"):
        assert f"{heading}\n" in text
    for name in ("heroes-lumina", "heroes-emu3", *doctor.PUBLISHED, "native", "torch", "GPU"):
        assert f"  {name}" in text
    assert max(map(len, text.splitlines())) < 200


def test_json_of_one_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--model", "heroes-emu3", "--dtype", "bfloat16", "--device", "cpu") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(r["model"], r["dtype"]) for r in found["memory"]] == [("heroes-emu3", "bfloat16")]
    assert found["packages"]["torch"]


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model", "nowhere") == 1
    assert "nowhere  FileNotFoundError" in capsys.readouterr().out
    for arguments in (["--dtype", "int8"], ["--device", "tpu"]):
        assert run(*arguments) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith("sjd2: ")
        assert printed.err.count("\n") == 1
        assert printed.out == ""
