"""Tables and plots in README and documents are those of the results that they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from test_bench_plots import end_to_end
from test_bench_plots import run as plotted
from test_bench_table import record, run

from bench import plots, records, report


@pytest.mark.parametrize("document", report.documents(), ids=lambda path: path.name)
def test_a_document_matches_its_results(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert report.rewritten(document) == text, "python -m bench.report writes it anew"
    for word, source in report.sources(text):
        if word in report.PLOTS and not source.endswith("/none"):
            held = records.load(records.RESULTS / source)
            for axis in report.PLOTS[word]:
                shown = plots.panels(held, axis)
                if shown:
                    with Image.open(plots.path_of(records.RESULTS / source, axis)) as picture:
                        drawn = picture.text["Description"]  # type: ignore[attr-defined]
                    assert drawn == plots.digest(shown), f"{axis} of {source}: python -m bench.report draws it"


def test_the_documents_have_blocks() -> None:
    found = {word for path in report.documents() for word, _ in report.sources(path.read_text(encoding="utf-8"))}
    assert found == set(report.WORDS)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two runs on a CPU, an end-to-end run on a GPU."""
    folder = tmp_path / "results"
    for commit, at in (("old", "01"), ("new", "02")):
        held = run(record(f"case {commit}")) | {"date": f"2026-11-25T{at}:00:00+00:00"}
        held["machine"] |= {"device": "cpu", "commit": commit}
        records.store(held, folder)
    gpu = run() | end_to_end() | {"date": "2026-11-25T03:00:00+00:00"}
    gpu["machine"] = run()["machine"] | {"device": "nvidia-h100", "commit": "gpu"}
    records.store(gpu, folder, "e2e")
    return folder


def page(tmp_path: Path, word: str, source: str, text: str = "") -> Path:
    path = tmp_path / "page.md"
    path.write_text(f"Before.\n\n<!-- bench:{word} from {source} -->\n{text}<!-- bench:end -->\n\nAfter.\n")
    return path


def test_a_block_is_written_and_the_rest_is_left(tmp_path: Path, results: Path) -> None:
    path = page(tmp_path, "all", "cpu/2026-11-25-old.json", "by hand\n")
    text = report.rewritten(path, results)
    assert text.startswith("Before.\n\n<!-- bench:all from cpu/2026-11-25-old.json -->\n")
    assert text.endswith("<!-- bench:end -->\n\nAfter.\n")
    assert "case old" in text
    assert "by hand" not in text
    path.write_text(text)
    assert report.rewritten(path, results) == text


def test_newest_moves_to_the_newest_of_the_same_kind(tmp_path: Path, results: Path) -> None:
    assert report.newer("all", "cpu/2026-11-25-old.json", results) == "cpu/2026-11-25-new.json"
    assert report.newer("e2e", "gpu/none", results) == "nvidia-h100/2026-11-25-gpu-e2e.json"
    assert report.newer("e2e", "cpu/none", results) == "cpu/none"
    assert report.newer("all", "gpu/none", results) == "gpu/none"
    text = report.rewritten(page(tmp_path, "all", "cpu/none"), results, newest=True)
    assert "from cpu/2026-11-25-new.json" in text
    assert "case new" in text


def test_what_waits_says_so(tmp_path: Path, results: Path) -> None:
    assert report.PENDING in report.rewritten(page(tmp_path, "ratio", "gpu/none"), results)


def test_plots_are_drawn_and_linked(tmp_path: Path, results: Path) -> None:
    source = "nvidia-h100/2026-11-25-gpu-e2e.json"
    text = report.rewritten(page(tmp_path, "ratio", source), results)
    assert "](results/nvidia-h100/2026-11-25-gpu-e2e-ratio.png)" in text
    (drawn,) = report.draw(text, results)
    assert drawn.is_file()
    assert "No plot" in report.render("plots", "cpu/2026-11-25-new.json", tmp_path / "page.md", results)
    path = results / "cpu" / "2026-11-25-new.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"comparisons": plotted()["comparisons"]}))
    linked = report.render("plots", "cpu/2026-11-25-new.json", tmp_path / "page.md", results)
    assert linked.count("![") == len(plots.AXES)


def test_unknown_blocks_and_missing_files(tmp_path: Path, results: Path) -> None:
    with pytest.raises(ValueError, match=r"page.md: no block bench:sorcery; there are short"):
        report.rewritten(page(tmp_path, "sorcery", "cpu/none"), results)
    with pytest.raises(FileNotFoundError):
        report.rewritten(page(tmp_path, "all", "cpu/gone.json"), results)


def test_the_command_checks_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:all from cpu/none -->\nby hand\n<!-- bench:end -->\n")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    assert report.main(["--check"]) == 1
    assert "README.md" in capsys.readouterr().err
    assert "by hand" in readme.read_text()
    assert report.main([]) == 0
    assert report.PENDING in readme.read_text()
    assert report.main(["--check"]) == 0


def test_losses_name_the_peer_and_the_ratio() -> None:
    lost = record("V 9")
    lost["ratios"] = {"eager": 0.5, "copy": 0.1, "policy ar": 0.2, "sdpa": 2.0}
    words: dict[str, Any] = run(record(), lost)
    assert report.TABLES["losses"](words) == "- process_logits, V 9: eager takes 0.50 of our time"
    assert report.TABLES["losses"](run(record())) == "Nowhere in this run."
