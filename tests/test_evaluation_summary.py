"""Summaries: plain JSON, the share of the compression that became time, and p of every setting and of ar itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sjd2.decoder import Sampling
from sjd2.evaluation.results import Results, read
from sjd2.evaluation.run import run
from sjd2.evaluation.same_law import Pictures, same_law
from sjd2.evaluation.settings import chosen
from sjd2.evaluation.summary import called, summarise
from sjd2.evaluation.table import render
from sjd2.evaluation.task import prompts_task
from table_backbone import KINDS, Table
from toy_backbone import Toy

TABLE = Table(V=3, width=3, height=2, seed=1)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """100 prompts of a table, four pictures of each by three settings, with a reference, without seconds."""
    path = tmp_path_factory.mktemp("summary") / "a.json"
    settings, task = chosen("ar,coupled 4,sjd2 4/2 linear nearest"), prompts_task([KINDS[i % 2] for i in range(100)])
    run(
        {"tuned": TABLE}, settings, task, 4, 100, Sampling(guidance=1.5), TABLE.grid(),
        Results(path, {"model": "table", "captions": 100, "sampling": {"guidance": 1.5, "temperature": 1, "top_k": 0}}),
        timed=False, tested=True,
    )  # fmt: skip
    return read(path)


def test_lossless_settings_pass_and_sjd2_does_not(held: dict[str, Any]) -> None:
    rows = summarise(held)["kinds"]["prompts"]["settings"]
    assert rows["tuned|ar"]["p"] > 0.01  # the negative control that every file has
    assert rows["tuned|coupled 4"]["p"] > 0.01
    assert rows["tuned|sjd2 4/2 linear nearest"]["p"] < 0.002
    both = []
    for group, name in (("cells", "tuned|sjd2 4/2 linear nearest|prompts"), ("reference", "tuned|prompts")):
        records = [held[group][f"{name}|{seed}"] for seed in range(4)]
        both.append(Pictures(*([x for record in records for x in record[key]] for key in ("bits", "counts"))))
    assert rows["tuned|sjd2 4/2 linear nearest"]["p"] == same_law(*both).p


def test_the_table_of_prompts_has_no_parts(held: dict[str, Any]) -> None:
    summary = summarise(held)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    text = render(summary)
    head = next(line for line in text.splitlines() if line.startswith("| setting | rows"))
    assert head == "| setting | rows | steps | compression | bits/token | p, same law as ar |"
    assert text.startswith("table, 100 prompts, guidance 1.5, temperature 1, top-k off; commit ")
    assert "parts" not in text
    row = next(line for line in text.splitlines() if line.startswith("| sjd2 4/2"))
    assert float(row.strip("| ").split("|")[-1]) == pytest.approx(
        summary["kinds"]["prompts"]["settings"]["tuned|sjd2 4/2 linear nearest"]["p"], abs=5e-5
    )


def test_without_a_reference_there_is_no_p(held: dict[str, Any]) -> None:
    rows = summarise(held | {"reference": {}})["kinds"]["prompts"]["settings"]
    assert {row["p"] for row in rows.values()} == {None}


def test_the_share_is_the_speed_up_over_the_compression() -> None:
    """ar: 12 steps in 6 s; sjd: 3 steps in 2 s: compression 4, speed-up 3."""
    cells = {f"tuned|{name}|prompts|0": {"steps": [n], "bits": [1.0], "N": 12, "commit": "c"}
             for name, n in (("ar", 12), ("sjd 4", 3))}  # fmt: skip
    timing = {name: {"alone": s, "alone_step": s / n, "batch": s, "batch_step": s / n}
              for name, s, n in (("ar", 6.0, 12), ("sjd 4", 2.0, 3))}  # fmt: skip
    held = {"options": {}, "cells": cells, "truth": {}, "reference": {},
            "timing": {"prompts": timing | {"machine": "m", "commit": "c"}}}  # fmt: skip
    kind = summarise(held)["kinds"]["prompts"]
    row = kind["settings"]["tuned|sjd 4"]
    assert (row["compression"], row["alone_share"]) == (4, pytest.approx(3 / 4))
    assert kind["settings"]["tuned|ar"]["alone_share"] == 1
    assert row["steps_error"] is None  # of one prompt
    assert kind["timing"] == {"machine": "m", "commit": "c"}


def test_names() -> None:
    assert called("tuned|sjd 4") == "sjd 4"
    assert called("baseline|sjd 4") == "sjd 4 (baseline)"


def test_one_prompt_is_no_error(tmp_path: Path) -> None:
    toy = Toy(dtype=torch.float32)
    results = Results(
        tmp_path / "a.json", {"model": "toy", "captions": 1, "sampling": {"guidance": 1, "temperature": 1, "top_k": 0}}
    )
    run({"tuned": toy}, chosen("ar,sjd 2"), prompts_task(["a"]), 1, 1, Sampling(), toy.grid(), results,
        timed=False, tested=True)  # fmt: skip
    assert "± -" in render(summarise(results.held))
