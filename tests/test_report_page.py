"""The page, parsed by the standard library's parser: its numbers are those of the runs, and it loads nothing else."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sjd2.evaluation import results
from sjd2.evaluation.summary import summarise
from sjd2.report.page import compare, page
from sjd2.report.runs import load
from test_report_runs import evaluation, tracing

VOID = {"meta", "img", "br", "link", "input", "hr"}
KEPT = sorted((Path(__file__).resolve().parent.parent / "bench" / "results" / "heroes").glob("*.json"))


class Page(HTMLParser):
    """Tables as rows of text, pictures, and whether tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[tuple[dict[str, str | None], list[list[str]]]] = []
        self.pictures: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.titles: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        held = dict(attributes)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append((held, []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][1][-1].append("")
        elif tag == "img":
            self.pictures.append(held)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if {"th", "td"} & set(self.open):
            self.tables[-1][1][-1][-1] += text
        if "h1" in self.open:
            self.titles.append(text)


def made(paths: list[Path], title: str = "runs") -> Page:
    text = page(*load(paths), title)
    assert text.startswith("<!doctype html>")
    assert "<script" not in text
    assert "@import" not in text
    assert "url(" not in text
    found = Page(text)
    assert all(link.startswith("data:image/") for link in found.links)
    return found


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    for name, steps in (("one", 5), ("two", 3)):
        (tmp_path / f"{name}.json").write_text(json.dumps(evaluation(steps)))
    (tmp_path / "trace.json").write_text(json.dumps(tracing(tmp_path)))
    return [tmp_path / f"{name}.json" for name in ("one", "two", "trace")]


def test_runs_stand_side_by_side(paths: list[Path]) -> None:
    found = made(paths, "before & after")
    assert found.titles == ["before & after"]
    (_, rows) = next(table for table in found.tables if table[0]["class"] == "compared")
    assert rows[0] == ["setting", "one", "two"]
    assert rows[1] == ["steps", "compression", "bits/token"] * 2
    assert rows[2] == ["ar", *["13.0 ± 1.0", "0.92", "1.500"] * 2]
    assert rows[3] == ["sjd 4", "6.0 ± 1.0", "2.00", "1.500", "4.0 ± 1.0", "3.00", "1.500"]


def test_pictures_stand_under_their_captions(paths: list[Path]) -> None:
    found = made(paths)
    (_, rows) = next(table for table in found.tables if table[0]["class"] == "pictures")
    assert rows[0] == ["setting", "a", "b"]
    assert [row[0] for row in rows[1:]] == ["sjd 4one", "sjd 4two"]
    assert len(found.pictures) == 4 + 2
    assert found.pictures[1]["alt"] == "sjd 4, one: b"
    assert all(picture["alt"] for picture in found.pictures)


def test_traces(paths: list[Path]) -> None:
    (attributes, rows) = made(paths[2:]).tables[0]
    assert attributes == {"class": "trace", "data-run": "trace"}
    assert rows[1] == ["sjd", "4", "3", "4.00", "7", "1.50"]
    assert "a &lt;dwarf&gt;" in page(*load(paths[2:]), "t")  # a prompt is text, not markup


def test_numbers_of_real_runs_read_back() -> None:
    found = made(KEPT)
    wholes = {(a["data-run"], a["data-kind"]): rows for a, rows in found.tables if a["class"] == "whole"}
    for path in KEPT:
        summary = summarise(results.read(path))
        for kind, of in summary["kinds"].items():
            head, *rows = wholes[path.stem, kind]
            read = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
            for row in of["settings"].values():
                cells = read[row["called"]]
                assert abs(float(cells["steps"].split("±")[0]) - row["steps"]) < 0.051
                assert abs(float(cells["compression"]) - row["compression"]) < 0.0051
                assert abs(float(cells["bits/token"]) - row["bits"]) < 0.00051
                assert abs(float(cells["parts right"].removesuffix(" %")) - 100 * row["right"]) < 0.051


def test_a_setting_or_kind_that_one_run_lacks(paths: list[Path]) -> None:
    less = evaluation(4)
    del less["cells"]["tuned|ar|prompts|0"]
    paths[1].write_text(json.dumps(less))
    evaluations, _ = load(paths[:2])
    assert compare(evaluations, "prompts")["rows"][0] == ("ar", [["13.0 ± 1.0", "0.92", "1.500"], ["", "", ""]])
    all_kinds = next(path for path in KEPT if path.name.endswith("-lumina.json"))
    both = made([paths[0], all_kinds])
    kinds = [a["data-kind"] for a, _ in both.tables if a["class"] == "compared"]
    assert kinds == ["prompts", "flat", "mottled", "flat short", "mottled short"]


def test_without_jinja_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sjd2-kernels\[report\]'"):
        page([], [], "t")
