"""`sjd2 trace`: options reach the decodings, and the lines say what they cost."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sjd2
import torch
from sjd2 import cli
from sjd2.backbones.tiny import tiny_lumina
from sjd2.pipeline import Pipeline
from sjd2.trace import film

PIPE = Pipeline(tiny_lumina())


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A tiny model in place of any other, an empty folder to work in, and one thread."""
    monkeypatch.setattr(sjd2, "load", lambda name, **_: PIPE)
    monkeypatch.setattr(film, "FRAMES", 2)
    monkeypatch.chdir(tmp_path)
    logger, level, threads = logging.getLogger("sjd2"), logging.getLogger("sjd2").level, torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    logger.setLevel(level)
    torch.set_num_threads(threads)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["trace", *arguments])
    return stop.value.code or 0


def test_both_decodings_are_those_of_generate(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--window", "5", "--seed", "7", "--guidance", "2", "--top-k", "6", "--clock", "steps"]
    assert run("a dwarf", "--policy", "coupled", "-o", "folder", *options) == 0
    held: dict[str, Any] = json.loads(Path("folder/trace.json").read_text())
    assert list(held["runs"]) == ["coupled", "ar"]
    assert held["sampling"] == {"guidance": 2.0, "temperature": 1.0, "top_k": 6, "top_p": 1.0}
    assert (held["prompt"], held["seed"], held["clock"]) == ("a dwarf", 7, "steps")
    assert held["machine"]
    assert held["commit"]
    lines = capsys.readouterr().out.splitlines()
    for name, window, line in (("coupled", 5, lines[0]), ("ar", None, lines[1])):
        out = PIPE.generate("a dwarf", name, window, guidance=2, top_k=6, seed=7, draw=False)
        kept = held["runs"][name]
        assert kept["accept_lengths"] == out.accept_lengths[0]
        assert kept["window"] == (window or 1)
        steps, N = int(out.steps[0]), out.tokens.shape[1]
        assert line.startswith(f"{name}: {steps} steps, step compression {N / steps:.1f}, ")
        seconds = re.search(r"([\d.]+) s$", line)
        assert seconds
        assert abs(float(seconds[1]) - kept["prefill"] - sum(kept["seconds"])) < 0.006
    assert sorted(lines[2:]) == sorted(str(path) for path in Path("folder").iterdir())


def test_a_policy_against_itself_is_decoded_once() -> None:
    assert run("a", "--policy", "ar", "--clock", "steps") == 0
    assert list(json.loads(Path("out/trace/trace.json").read_text())["runs"]) == ["ar"]


def test_a_model_without_a_picture_decoder_gives_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIPE.backbone, "pictures", None)
    assert run("a", "--policy", "ar", "--clock", "steps") == 0
    names = {path.suffix for path in Path("out/trace").iterdir()}
    assert {".json", ".png"} <= names
    assert ".gif" not in names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clock", "hours"], "clock must be one of seconds, steps, got 'hours'"),
        (["--policy", "sjd3"], "policy must be one of"),
        (["--against", "arr"], "did you mean 'ar'"),
        (["--size", "big"], "size must be WIDTHxHEIGHT"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("a", *arguments) == 2
    assert message in capsys.readouterr().err
    assert list(Path().iterdir()) == []
