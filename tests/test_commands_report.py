"""`sjd2 report`: files to one page, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sjd2 import cli
from test_report_runs import evaluation, tracing


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", *arguments])
    return stop.value.code or 0


def test_files_to_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text(json.dumps(evaluation(5)))
    Path("t.json").write_text(json.dumps(tracing(tmp_path)))
    assert run("a.json", "t.json", "-o", "new/r.html", "--title", "Two runs") == 0
    assert capsys.readouterr().out == "new/r.html\n"
    text = Path("new/r.html").read_text(encoding="utf-8")
    assert "<h1>Two runs</h1>" in text
    assert "6.0 ± 1.0" in text
    assert [path.name for path in Path("new").iterdir()] == ["r.html"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.json", "-o", "r.txt"], "out must be the name of a .html file, got r.txt"),
        (["b.json"], "b.json"),
        (["a.json", "a.json"], "a file is given twice"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text(json.dumps(evaluation(5)))
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
