"""Files of runs as text and pictures: what is read, names that tell files apart, and what is refused."""

from __future__ import annotations

import base64
import doctest
import json
from pathlib import Path
from typing import Any

import pytest
from sjd2.evaluation.table import COLUMNS
from sjd2.report import runs as module
from sjd2.report.runs import COMPARED, labels, load

SAMPLING = {"guidance": 2.0, "temperature": 1.0, "top_k": 0}
PIXEL = base64.b64encode(b"a picture").decode()


def evaluation(steps: int) -> dict[str, Any]:
    """A file of `sjd2 eval` over two prompts with pictures of sjd."""
    cells = {f"tuned|{name}|prompts|0": {"steps": [n, n + 2], "bits": [1.0, 2.0], "N": 12, "commit": "c0"}
             for name, n in (("ar", 12), ("sjd 4", steps))}  # fmt: skip
    pictures = {"tuned|sjd 4|prompts": {"captions": ["a", "b"], "png": [PIXEL, PIXEL]}}
    return {"options": {"model": "m", "captions": 2, "sampling": SAMPLING}, "cells": cells, "pictures": pictures}


def tracing(folder: Path) -> dict[str, Any]:
    """A file of `sjd2 trace` with two of its pictures."""
    for name, text in (("accept.png", b"chart"), ("race.gif", b"moves")):
        (folder / name).write_bytes(text)
    run = {"window": 4, "steps": 3, "accept_lengths": [2, 7, 3], "prefill": 0.5, "seconds": [0.25, 0.5, 0.25]}
    return {
        "format": "sjd2 trace 1", "prompt": "a <dwarf>", "model": "m", "seed": 7, "sampling": SAMPLING, "machine": "pc",
        "commit": "c1", "grid": {"N": 12}, "pictures": ["accept.png", "race.gif"], "runs": {"sjd": run},
    }  # fmt: skip


def test_evaluations_and_traces(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text(json.dumps(evaluation(5)))
    (tmp_path / "t.json").write_text(json.dumps(tracing(tmp_path)))
    (evaluated,), (traced,) = load([tmp_path / "t.json", tmp_path / "e.json"])
    assert evaluated.label == "e"
    assert evaluated.headline == "m, 2 prompts, guidance 2, temperature 1, top-k off; commit c0."
    kind = evaluated.kinds["prompts"]
    assert kind["settings"]["sjd 4"]["steps"] == "6.0 ± 1.0"
    assert kind["settings"]["sjd 4"]["compression"] == "2.00"
    assert kind["settings"]["sjd 4"]["parts right"] == "-"
    assert kind["pictures"] == {"sjd 4": dict.fromkeys("ab", f"data:image/png;base64,{PIXEL}")}
    assert kind["head"][0] == "setting"
    assert [row[0] for row in kind["rows"]] == ["ar", "sjd 4"]
    assert (traced.label, traced.prompt) == ("t", "a <dwarf>")
    assert traced.headline == "m, seed 7, guidance 2, temperature 1, top-k off; pc, commit c1."
    assert traced.rows == [["sjd", "4", "3", "4.00", "7", "1.50"]]
    chart, race = (base64.b64encode(text).decode() for text in (b"chart", b"moves"))
    assert [uri for _, uri in traced.pictures] == [f"data:image/png;base64,{chart}", f"data:image/gif;base64,{race}"]
    assert set(COMPARED) <= {head for head, _ in COLUMNS}


def test_names_tell_files_apart() -> None:
    assert labels([Path("a/x/t.json"), Path("b/x/t.json")]) == ["a/x/t", "b/x/t"]
    with pytest.raises(ValueError, match="a file is given twice"):
        labels([Path("a.json"), Path("./a.json")])
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(("text", "message"), [("{", "is no JSON file"), ("{}", "neither of"), ("[]", "neither of")])
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load([tmp_path / "a.json"])


def test_a_picture_that_is_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(tracing(tmp_path)))
    (tmp_path / "race.gif").unlink()
    with pytest.raises(FileNotFoundError, match=r"race\.gif"):
        load([tmp_path / "t.json"])
