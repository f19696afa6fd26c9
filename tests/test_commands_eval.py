"""`sjd2 eval`: from a checkpoint or a file of prompts to tables and JSON, going on, and what is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sjd2
import torch
from sjd2 import cli
from sjd2.backbones.tiny import tiny_lumina
from sjd2.evaluation.results import read
from sjd2.evaluation.summary import summarise
from sjd2.evaluation.table import render
from sjd2.heroes.model import Shape, build, save
from sjd2.pipeline import Pipeline

TINY = Shape(C=32, layers=1, H=2, ffn=32)


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty folder to work in, and one thread, which is enough for these models."""
    monkeypatch.chdir(tmp_path)
    logger, level, threads = logging.getLogger("sjd2"), logging.getLogger("sjd2").level, torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    logger.setLevel(level)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    made = [tmp_path_factory.mktemp("model") / name for name in ("tuned", "baseline")]
    for seed, folder in enumerate(made):
        save(build("heroes-lumina", TINY, seed=seed), folder, TINY)
    return [str(folder) for folder in made]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["eval", *arguments])
    return stop.value.code or 0


def test_held_out_captions_to_tables_and_json(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--captions",
        "2",
        "--seeds",
        "1",
        "--kinds",
        "flat",
        "--policies",
        "coupled 96",
        "--no-time",
        "--no-test",
    ]
    assert run("--model", folders[0], "--baseline", folders[1], "-o", "a.json", *options) == 0
    text = capsys.readouterr().out
    held = read(Path("a.json"))
    assert set(held["cells"]) == {"tuned|coupled 96|flat|0", "baseline|coupled 96|flat|0"}
    assert held["options"]["sampling"] == {"guidance": 2.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    assert held["options"]["weights of tuned"] != held["options"]["weights of baseline"]
    assert held["summary"] == summarise(held)
    assert text == render(held["summary"]) + "\na.json\n"
    assert "## flat\n" in text
    mean = sum(held["cells"]["tuned|coupled 96|flat|0"]["steps"]) / 2
    assert f"| coupled 96 | 96 | {mean:.1f} ±" in text
    assert run("-o", "a.json", "--table") == 0
    assert capsys.readouterr().out == render(held["summary"])
    assert run("--model", folders[1], "-o", "a.json", *options) == 2
    assert "a.json was made with weights of tuned = " in capsys.readouterr().err


def test_prompts_from_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("model").mkdir()
    pipe = Pipeline(tiny_lumina())
    monkeypatch.setattr(sjd2, "load", lambda name, **_: pipe)
    Path("p.txt").write_text("a dwarf\n\n  an elf  \n", encoding="utf-8")
    options = ["--model", "model", "--prompts", "p.txt", "--policies", "ar,sjd 3", "--seeds", "2", "--no-time"]
    assert run(*options, "--size", "12x8", "--top-k", "6", "--batch", "1", "-o", "new/b.json") == 0
    held: dict[str, Any] = json.loads(Path("new/b.json").read_text())
    assert held["options"]["captions"] == 2
    assert held["options"]["size"] == "12x8"
    assert held["pictures"]["tuned|ar|prompts"]["captions"] == ["a dwarf"]
    assert set(held["reference"]) == {"tuned|prompts|0", "tuned|prompts|1"}
    out = pipe.generate(["a dwarf", "an elf"], "sjd", 3, top_k=6, size=(12, 8), seed=[2**32, 2**32 + 1], draw=False)
    assert held["cells"]["tuned|sjd 3|prompts|0"]["steps"] == out.steps.tolist()
    assert "| setting | rows | steps | compression | bits/token | p, same law as ar |" in capsys.readouterr().out
    pipe.backbone.pictures = None  # the VQ decoder is another download; numbers need none
    assert run(*options, "--size", "12x8", "--top-k", "6", "--batch", "1", "-o", "new/c.json") == 0
    bare = json.loads(Path("new/c.json").read_text())
    assert bare["cells"] == held["cells"]
    assert not any(bare["pictures"].values())
    Path("p.txt").write_text("another\n")
    assert run(*options, "--size", "12x8", "--top-k", "6", "-o", "new/b.json") == 2


def test_mistakes_are_one_line_and_leave_nothing(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("model").mkdir()
    Path("empty.txt").write_text("\n")
    for arguments, message in (
        (["--model", "model"], "is no model of heroes, whose captions come with the package: --prompts FILE"),
        (["--model", folders[0], "--kinds", "stripes"], "there are flat, mottled"),
        (["--model", folders[0], "--policies", "sjd2 fast"], "'fast' of 'sjd2 fast' is no window"),
        (["--model", folders[0], "--prompts", "empty.txt"], "there are no prompts in it"),
        (["--model", folders[0], "--prompts", "none.txt"], "none.txt"),
        (["--table"], "eval.json"),
    ):
        assert run(*arguments) == 2
        assert message in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["empty.txt", "model"]
