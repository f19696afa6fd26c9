"""`sjd2 generate --prompts`: the same pictures and the same manifest however the work was split or stopped."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sjd2
import torch
from PIL import Image
from sjd2 import cli
from sjd2.backbones.tiny import tiny_lumina
from sjd2.pipeline import Pipeline

PROMPTS = (
    '{"prompt": "a"}\n{"prompt": "bc", "size": "8x4"}\n\n{"prompt": "d", "id": "dee"}\n{"prompt": "e", "seed": 99}\n'
)
LOAD = sjd2.load
NAMES = ["000001", "000002", "dee", "000004"]


@cache
def pipeline() -> Pipeline:
    """One, since some parameters of its picture decoder are not seeded."""
    return Pipeline(tiny_lumina())


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pipeline]:
    """A tiny model in place of every model, and a folder with prompts to work in; threads and log as they were."""
    logger, threads = logging.getLogger("sjd2"), torch.get_num_threads()
    level, pipe = logger.level, Pipeline(pipeline().backbone)
    monkeypatch.setattr(sjd2, "load", lambda *_, **__: pipe)
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("p.jsonl").write_text(PROMPTS)
    yield pipe
    logger.setLevel(level)
    torch.set_num_threads(threads)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["generate", "--prompts", "p.jsonl", "--policy", "coupled", "--window", "5", *arguments])
    return stop.value.code or 0


def held(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_a_file_of_prompts(process: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--batch", "3", "--seed", "20", "-o", "out") == 0
    records = [json.loads(line) for line in Path("out/manifest.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == NAMES
    assert [record["seed"] for record in records] == [20, 21, 22, 99]
    assert [record["size"] for record in records] == ["12x8", "8x4", "12x8", "12x8"]
    assert sorted(held("out")) == sorted([*(f"{name}.png" for name in NAMES), "manifest.jsonl", "run.json"])
    lines = capsys.readouterr().out.splitlines()
    order = [records[i] for i in (0, 2, 3, 1)]  # by size
    assert lines == [
        *(f"out/{r['file']}: {r['steps']} steps, step compression {r['tokens'] / r['steps']:.1f}" for r in order),
        "4 of 4 pictures are in out; manifest.jsonl lists them",
    ]
    with Image.open("out/dee.png") as drawn:
        text = dict(drawn.text)
    assert text.pop("Software").startswith("sjd2-kernels ")
    assert len(text.pop("run")) == 16
    assert text == {
        "prompt": "d", "model": "heroes-lumina", "policy": "coupled", "window": "5", "temperature": "1.0",
        "top_p": "1.0", "seed": "22", "steps": str(records[2]["steps"]), "tokens": "33", "scale": "43", "count": "1",
        "device": "cpu",
    }  # fmt: skip
    alone = process.generate("bc", "coupled", 5, size=(8, 4), seed=21)
    with Image.open("out/000002.png") as drawn:
        assert drawn.resize((8, 4), Image.Resampling.NEAREST).tobytes() == alone.images[0].tobytes()


def test_pictures_and_manifest_are_the_same_however_the_work_was_split(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-o", "whole") == 0
    expected = held("whole")
    assert run("-o", "batches", "--batch", "3") == 0
    for shard in ("2/3", "1/3", "3/3"):
        assert run("-o", "shards", "--shard", shard) == 0
    assert "4 of 4 pictures are in shards" in capsys.readouterr().out
    assert run("-o", "resumed", "--shard", "1/2") == 0
    part = held("resumed")
    assert 2 < len(part) < 6
    assert run("-o", "resumed") == 0
    for folder in ("batches", "shards", "resumed"):
        assert held(folder) == expected, folder
    del expected["000001.png"], part["manifest.jsonl"]
    assert run("-o", "other", "--seed", "1") == 0
    assert all(held("other")[name] != content for name, content in expected.items())  # the run's name is in them all


def test_nothing_is_done_twice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-o", "out") == 0
    before = {path: path.stat().st_mtime_ns for path in Path("out").glob("*.png")}
    capsys.readouterr()
    monkeypatch.setattr(sjd2, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    assert run("-o", "out", "--batch", "4") == 0
    assert capsys.readouterr().out == "4 of 4 pictures are in out; manifest.jsonl lists them\n"
    assert {path: path.stat().st_mtime_ns for path in Path("out").glob("*.png")} == before


def test_an_interruption_leaves_whole_pictures_and_their_manifest(
    process: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, calls = process.generate, []

    def twice(*words: Any, **arguments: Any) -> Any:
        calls.append(words)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(*words, **arguments)

    monkeypatch.setattr(process, "generate", twice)
    assert run("-o", "out") != 0
    lines = Path("out/manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["000001", "dee"]
    assert run("-o", "out") == 0
    assert len(calls) == 5  # two, the interrupted one, and the two that were left
    assert run("-o", "straight") == 0
    assert held("out") == held("straight")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--guidance", "2"], "guidance null there, 2.0 now"),
        (["--seed", "1"], "seed 0 there, 1 now"),
        (["--count", "2", "--scale", "3"], "count 1 there, 2 now; scale null there, 3 now"),
        (["--model", "heroes-emu3"], 'model "heroes-lumina" there, "heroes-emu3" now'),
        (["--dtype", "bfloat16", "--size", "8x4"], 'dtype null there, "bfloat16" now'),
    ],
)
def test_other_settings_are_refused_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run("-o", "out", "--shard", "1/4") == 0
    before = held("out")
    monkeypatch.setattr(sjd2, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    capsys.readouterr()
    assert run("-o", "out", *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("sjd2: out/run.json is of a run with other settings: ")
    assert said in err
    assert held("out") == before


def test_other_prompts_are_refused_with_the_first_that_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-o", "out", "--shard", "1/4") == 0
    Path("p.jsonl").write_text(PROMPTS.replace("bc", "cb"))
    assert run("-o", "out") == 2
    said = r'other settings: picture 2 is \{.*"bc".*\} there, \{.*"cb".*\} now\. Repeat'
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "a"}\n{"prompt": 3}\n', "p.jsonl: line 2: prompt must be a text"),
        ('{"prompt": "a"}\n\n{"prompt": "b", "size": "9x9"}\n', "p.jsonl: line 3: tiny-lumina: "),
    ],
)
def test_bad_lines_are_named_before_any_decoding(
    process: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    Path("p.jsonl").write_text(text)
    monkeypatch.setattr(process, "generate", lambda *_, **__: pytest.fail("it decoded"))
    assert run("-o", "out") == 2
    assert capsys.readouterr().err.startswith(f"sjd2: {said}")
    assert not Path("out").exists()


def test_pictures_from_bad_logits_are_marked_and_exit_with_1(
    process: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head = process.backbone.head
    monkeypatch.setattr(process.backbone, "head", lambda hidden: head(hidden) * torch.nan)
    assert run("-o", "out", "--shard", "1/4") == 1
    assert capsys.readouterr().out.endswith("not to be trusted: 000001.png\n")
    monkeypatch.setattr(process.backbone, "head", head)
    assert run("-o", "out") == 1  # it stays marked
    statuses = [json.loads(line)["status"] for line in Path("out/manifest.jsonl").read_text().splitlines()]
    assert statuses == ["NaN in the logits", "ok", "ok", "ok"]


def test_a_killed_process_is_made_good_by_the_same_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedded model in a process of its own, killed as soon as two pictures are there."""
    Path("p.txt").write_text("a dwarf\nan elf\nthe human\na ghoul\n")
    words = ["generate", "--prompts", "p.txt", "--device", "cpu", "--policy", "coupled", "-o"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "sjd2", *words, "out"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    end = time.monotonic() + 120
    while len(list(Path("out").glob("[0-9]*.png"))) < 2 and time.monotonic() < end:
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    there = {path.name: path.stat().st_mtime_ns for path in Path("out").glob("[0-9]*.png")}
    assert 2 <= len(there) < 4
    assert not Path("out/manifest.jsonl").exists()
    monkeypatch.setattr(sjd2, "load", LOAD)
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "out"])
    assert stop.value.code == 0
    assert len(re.findall("step compression", capsys.readouterr().out)) == 4 - len(there)
    names = sorted(path.name for path in Path("out").iterdir())
    assert names == ["000001.png", "000002.png", "000003.png", "000004.png", "manifest.jsonl", "run.json"]
    assert there.items() <= {path.name: path.stat().st_mtime_ns for path in Path("out").glob("*.png")}.items()
