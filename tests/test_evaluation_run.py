"""Filling a file of results: every record is there, a stopped run goes on and ends the same, no seed is shared."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sjd2.backbones.base import NoPictureDecoder
from sjd2.decoder import Sampling
from sjd2.evaluation import run as module
from sjd2.evaluation.decoding import decode
from sjd2.evaluation.results import Results, read
from sjd2.evaluation.settings import chosen
from sjd2.evaluation.task import Task, heroes_task, prompts_task
from sjd2.heroes.model import Shape, build
from toy_backbone import Toy

TINY = Shape(C=32, layers=1, H=2, ffn=32)
POLICIES = "coupled 96,sjd2-exact 64+32"
HEROES = heroes_task(["flat", "mottled short"], 2)
TOY = Toy(dtype=torch.float32)
FEW = prompts_task(["ab", "c", "ddd"])


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: build("heroes-lumina", TINY, seed=seed) for seed, name in enumerate(("tuned", "baseline"))}


def fill(models: Any, path: Path, task: Task = HEROES, policies: str = POLICIES, **options: Any) -> dict[str, Any]:
    given = {"seeds": 2, "batch": 8, "timed": False, "tested": False} | options
    grid = models["tuned"].grid()
    module.run(
        models,
        chosen(policies),
        task,
        given.pop("seeds"),
        given.pop("batch"),
        Sampling(),
        grid,
        Results(path, {}),
        **given,
    )
    return read(path)


@pytest.fixture(scope="module")
def whole(models: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that nothing stopped."""
    return fill(models, tmp_path_factory.mktemp("whole") / "a.json")


def test_every_cell_is_there_and_the_baseline_runs_what_it_can(whole: dict[str, Any]) -> None:
    names = {("tuned", "coupled 96"), ("tuned", "sjd2-exact 64+32"), ("baseline", "coupled 96")}
    assert set(whole["cells"]) == {
        f"{m}|{s}|{kind}|{seed}" for m, s in names for kind in HEROES.kinds for seed in range(2)
    }
    assert set(whole["truth"]) == {f"{model}|{kind}" for model in ("tuned", "baseline") for kind in HEROES.kinds}
    assert set(whole["pictures"]) == {f"{m}|{s}|{kind}" for m, s in names for kind in HEROES.kinds}
    for cell in whole["cells"].values():
        assert all(len(cell[field]) == 2 for field in ("steps", "bits", "judged", "right", "counts"))
        assert all(cell["N"] / 96 <= steps <= cell["N"] for steps in cell["steps"])
        assert cell["commit"]
    seeds = [whole["cells"][f"tuned|coupled 96|flat|{seed}"]["bits"] for seed in range(2)]
    assert seeds[0] != seeds[1]
    assert whole["cells"]["baseline|coupled 96|flat|0"]["bits"] != seeds[0]


def test_a_stopped_run_goes_on_and_ends_the_same(
    models: Any, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "b.json", []

    def stopped(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return decode(*args)

    monkeypatch.setattr(module, "decode", stopped)
    with pytest.raises(KeyboardInterrupt):
        fill(models, out)
    assert len(read(out)["cells"]) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
    assert fill(models, out) == whole
    assert len(calls) == 4 + 9
    fill(models, out)
    assert len(calls) == 4 + 9


def test_settings_and_seeds_can_be_added(tmp_path: Path) -> None:
    first = fill({"tuned": TOY}, tmp_path / "c.json", FEW, "sjd 2", seeds=1)
    more = fill({"tuned": TOY}, tmp_path / "c.json", FEW, "coupled 3", seeds=2)
    assert set(first["cells"]) == {"tuned|sjd 2|prompts|0"}
    assert set(more["cells"]) == set(first["cells"]) | {f"tuned|coupled 3|prompts|{seed}" for seed in range(2)}
    assert more["truth"] == {}
    assert set(more["cells"]["tuned|sjd 2|prompts|0"]) == {"steps", "bits", "counts", "N", "commit"}


def test_no_picture_of_the_reference_has_the_seed_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[int]] = {}

    def noted(backbone: Any, setting: Any, captions: Any, seeds: Any, *rest: Any) -> Any:
        seen.setdefault("reference" if seeds[0] < 0 else setting.name, []).extend(seeds)
        return decode(backbone, setting, captions, seeds, *rest)

    monkeypatch.setattr(module, "decode", noted)
    held = fill({"tuned": TOY}, tmp_path / "d.json", FEW, "ar,sjd 2", batch=2, tested=True)
    assert set(held["reference"]) == {"tuned|prompts|0", "tuned|prompts|1"}
    assert seen["ar"] == seen["sjd 2"]
    assert len({*seen["ar"], *seen["reference"]}) == 12
    for name in ("reference", "cells"):
        assert all(len(record["bits"]) == 3 for record in held[name].values())
    assert held["reference"]["tuned|prompts|0"]["steps"] == [TOY.grid().n_tokens] * 3


def test_pictures_are_the_first_ones_and_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHOWN", 2)
    monkeypatch.setattr(module, "SIDE", 3)
    held = fill({"tuned": TOY}, tmp_path / "e.json", FEW, "ar", batch=3)["pictures"]["tuned|ar|prompts"]
    assert held["captions"] == ["ab", "c"]
    for text in held["png"]:
        with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
            assert picture.size == (3, 1)  # of 4 x 2 pixels

    def decode_pictures(self: Toy, codes: Any) -> Any:
        raise NoPictureDecoder("no file")

    monkeypatch.setattr(Toy, "decode", decode_pictures)
    assert fill({"tuned": TOY}, tmp_path / "f.json", FEW, "ar")["pictures"] == {}


def test_seconds_are_taken_once_and_again_for_more_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def timed(backbone: Any, settings: Any, task: Any, kind: str, *rest: Any) -> dict[str, Any]:
        calls.append((list(settings), kind, rest[-1]))
        return {name: {"alone": 1.0} for name in settings}

    monkeypatch.setattr(module, "time_settings", timed)
    path = tmp_path / "g.json"
    held = fill({"tuned": TOY}, path, FEW, "ar", batch=2, timed=True)
    fill({"tuned": TOY}, path, FEW, "ar", batch=2, timed=True)
    assert calls == [(["ar"], "prompts", 2)]
    assert set(held["timing"]["prompts"]) == {"ar", "machine", "commit"}
    fill({"tuned": TOY}, path, FEW, "ar,sjd 2", timed=True)
    assert calls[1] == (["ar", "sjd 2"], "prompts", 8)
    assert json.loads(path.read_text())["timing"]["prompts"]["sjd 2"] == {"alone": 1.0}
