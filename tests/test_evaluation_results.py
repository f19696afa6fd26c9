"""The file of results: written whole, read back, refused where it is of something else; older files are read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from sjd2.evaluation.results import FORMAT, GROUPS, Results, digest, read
from sjd2.evaluation.summary import summarise
from sjd2.evaluation.table import render

KEPT = sorted((Path(__file__).resolve().parent.parent / "bench" / "results" / "heroes").glob("*.json"))


def test_records_are_there_after_each_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    results = Results(path, {"model": "m"})
    results.add("cells", "a", {"steps": [1]})
    results.add("cells", "b", {"steps": [2]})
    results.add("truth", "c", {"bits": [0.5]})
    assert [each.name for each in path.parent.iterdir()] == ["a.json"]
    held = json.loads(path.read_text())
    assert held["format"] == FORMAT
    assert held["cells"] == {"a": {"steps": [1]}, "b": {"steps": [2]}}
    assert Results(path, {"model": "m", "seeds": 2}).held == held | {"options": {"model": "m", "seeds": 2}}
    assert len(path.read_text().splitlines()) < 30  # a record a line
    results.held["summary"] = {"x": 1}
    results.write()
    assert read(path)["summary"] == {"x": 1}


def test_other_options_are_refused(tmp_path: Path) -> None:
    Results(tmp_path / "a.json", {"model": "m"}).write()
    with pytest.raises(ValueError, match="was made with model = m, not n; give the same options, or another --out"):
        Results(tmp_path / "a.json", {"model": "n"})


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    for text, message in (("{", "is no JSON file"), ("[1]", "holds no results"), ('{"cells": {}}', "holds no results")):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "b.json")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "c.json")


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_kept_results_are_read(path: Path) -> None:
    """Files of the first version have no reference and no pictures; what has a reference is tested."""
    held = read(path)
    assert set(GROUPS) <= held.keys()
    text = render(summarise(held))
    cells = [held["cells"].get(f"tuned|sjd 16|flat|{seed}", {"steps": []}) for seed in range(2)]
    steps = [n for cell in cells for n in cell["steps"]]
    assert steps or held["timing"], "a file has pictures, or seconds alone"
    assert not steps or f"| sjd 16 | 16 | {sum(steps) / len(steps):.1f} ± " in text
    assert ("p, same law as ar" in text) == bool(held["reference"])


def test_some_results_are_kept() -> None:
    assert len(KEPT) >= 2


def test_the_digest_is_that_of_all_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.safetensors").write_bytes(b"second")
    (tmp_path / "a.safetensors").write_bytes(b"first")
    (tmp_path / "c.json").write_bytes(b"x")
    assert digest(tmp_path) == hashlib.sha256(b"firstsecond").hexdigest()[:12]
