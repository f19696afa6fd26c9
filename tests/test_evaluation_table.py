"""The Markdown of an evaluation: numbers read back, errors by caption, pairs."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from sjd2.evaluation.summary import Z, mean_error, paired, summarise
from sjd2.evaluation.table import render
from sjd2.heroes.captions import ATTRIBUTES

N, CAPTIONS = 277, 40


def cell(steps: list[int], right: int = 9, bits: float = 1.0) -> dict[str, Any]:
    n = len(steps)
    slots = {name: [n, n, n, 0, 0, 0] for name in ATTRIBUTES[:9]}
    slots |= {name: [0, 0, 0, n, n * (right - 9) // 2, n] for name in ATTRIBUTES[9:]}
    return {
        "steps": steps, "bits": [bits] * n, "judged": [11] * n, "right": [right] * n, "slots": slots,
        "error": [100 * n, n], "exact": [1, n], "N": N, "commit": "abc",
    }  # fmt: skip


def results() -> dict[str, Any]:
    """Coupled and sjd2-exact share the difficulty of a caption; the second is 2 steps faster at 64 rows, on average."""
    draw = random.Random(1)
    cells: dict[str, Any] = {}
    hard = [draw.randint(-10, 10) for _ in range(CAPTIONS)]
    for seed in range(2):
        for name, base in (("coupled 64", 40), ("sjd2-exact 64", 38), ("sjd2-exact 48+16", 35), ("sjd 16", 70)):
            steps = [base + h + draw.randint(-1, 1) for h in hard]
            cells[f"tuned|{name}|flat|{seed}"] = cell(steps)
        cells[f"tuned|ar|flat|{seed}"] = cell([N] * CAPTIONS, right=10, bits=1.25)
    cells["baseline|coupled 64|flat|0"] = cell([41 + h for h in hard])
    timing = {
        name.split("|")[1]: {"alone": 0.5, "batch": 0.125, "alone_step": 0.04, "batch_step": 0.2} for name in cells
    }
    timing["ar"] |= {"alone_step": 0.01, "batch_step": 0.15}
    return {
        "options": {"model": "m", "captions": CAPTIONS, "sampling": {"guidance": 1, "temperature": 1, "top_k": 0}},
        "truth": {"tuned|flat": {k: v for k, v in cell([1] * CAPTIONS).items() if k != "steps"}},
        "timing": {"flat": timing | {"machine": "a computer", "commit": "def"}},
        "reference": {},
        "cells": cells,
    }


def rows(text: str, heading: str) -> dict[str, dict[str, str]]:
    """The table whose first columns are ``heading``: first cells joined -> column -> text."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading}"))
    names = [cell.strip() for cell in lines[start].strip("|").split("|")]
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        values = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(values) == len(names)
        key = " / ".join(values[: 1 + heading.count("|")])
        found[key] = dict(zip(names, values, strict=True))
    return found


def test_numbers_read_back() -> None:
    held = results()
    table = rows(render(summarise(held)), "setting | rows")
    assert next(iter(table)) == "ar / 1"
    for name, W in (("coupled 64", 64), ("sjd2-exact 48+16", 64), ("sjd 16", 16)):
        steps = np.array([held["cells"][f"tuned|{name}|flat|{seed}"]["steps"] for seed in range(2)])
        row = table[f"{name} / {W}"]
        mean, error = map(float, row["steps"].split("±"))
        assert abs(mean - steps.mean()) < 0.051
        assert abs(error - steps.mean(0).std(ddof=1) / math.sqrt(CAPTIONS)) < 0.051
        assert abs(float(row["compression"]) - N / steps.mean()) < 0.0051
        assert (row["s alone"], row["s in a batch"]) == ("0.50", "0.12")
        assert (row["became time, alone"], row["became time, batch"]) == ("25.0 %", "75.0 %")
        assert row["parts right"] == f"{100 * 9 / 11:.1f} %"
        assert row["named parts right"] == "100.0 %"
        assert row["exact"] == f"{100 / CAPTIONS:.1f} %"
        assert row["PSNR"] == f"{10 * math.log10(255**2 / 100):.1f} dB"
        assert row["bits/token"] == "1.000"
    assert table["ar / 1"]["became time, alone"] == "100.0 %"
    assert table["coupled 64 (baseline) / 64"]["s alone"] == "-"
    assert table["coupled 64 (baseline) / 64"]["became time, alone"] == "-"
    assert table["true pictures / -"]["steps"] == "-"
    assert table["ar / 1"]["compression"] == "1.00"


def test_machine_and_commits_are_named() -> None:
    text = render(summarise(results()))
    assert "a computer" in text
    assert "commit def" in text
    assert "commit abc" in text


def test_slots_and_presence_read_back() -> None:
    table = rows(render(summarise(results())), "setting | cloak")
    row = next(row for row in table.values() if row["setting"] == "sjd 16")
    assert (row["cloak"], row["hair"], row["background"], row["presence"]) == ("100.0", "0.0", "0.0", "100.0")


def test_pairs_are_those_of_equal_rows_and_their_difference_reads_back() -> None:
    held = results()
    table = rows(render(summarise(held)), "rows | setting | against")
    assert len(table) == 4  # two exact settings against coupled of both models
    for name, gain in (("sjd2-exact 64", -2), ("sjd2-exact 48+16", -5)):
        row = table[f"64 / {name} / coupled 64"]
        mean, half = map(float, row["difference in steps"].split("±"))
        assert abs(mean - gain) < half < 0.5
        assert row["pairs"] == str(2 * CAPTIONS)
    assert table["64 / sjd2-exact 64 / coupled 64 (baseline)"]["pairs"] == str(CAPTIONS)


def test_pairing_takes_the_difficulty_of_captions_out() -> None:
    cells = results()["cells"]
    _, half, _ = paired(cells, "tuned|sjd2-exact 64", "tuned|coupled 64", "flat")
    alone = mean_error([cells[f"tuned|coupled 64|flat|{seed}"]["steps"] for seed in range(2)])[1]
    assert half < Z * alone / 3
    same = paired(cells, "tuned|coupled 64", "tuned|coupled 64", "flat")
    assert same == (0.0, 0.0, 2 * CAPTIONS)
    mean, half, n = paired(cells, "tuned|coupled 64", "tuned|coupled 64", "mottled")
    assert math.isnan(mean)
    assert math.isnan(half)
    assert n == 0


def test_against_ar() -> None:
    row = rows(render(summarise(results())), "setting | bits/token | parts right, points")
    found = row["sjd 16 / -0.250 ± 0.000 / -9.09 ± 0.00"]
    assert found["pairs"] == str(2 * CAPTIONS)


@pytest.mark.parametrize("seeds", [1, 4])
def test_seeds_of_one_caption_are_not_independent(seeds: int) -> None:
    values = [[1.0, 2.0, 3.0, 6.0]] * seeds
    mean, error = mean_error(values)
    assert mean == 3
    assert error == pytest.approx(np.std(values[0], ddof=1) / 2)
    assert math.isnan(mean_error([[1.0]])[1])
