"""`sjd2 demo`: the same prompt and seed by both policies, a strip of their pictures, a table that says what it cost."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sjd2
import torch
from PIL import Image
from sjd2 import cli
from sjd2.backbones.tiny import tiny_emu3, tiny_lumina
from sjd2.commands import demo as module
from sjd2.commands.demo import PROMPT, Run, remarks, table
from sjd2.pipeline import Pipeline
from sjd2.png import enlarge


@pytest.fixture(scope="module")
def models() -> dict[str, Pipeline]:
    """Tiny models in place of the embedded ones."""
    made = {"heroes-lumina": tiny_lumina, "heroes-emu3": tiny_emu3}
    return {name: Pipeline(make()) for name, make in made.items()}


@pytest.fixture(autouse=True)
def process(models: dict[str, Pipeline], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty folder to work in, and one thread, which is enough for these models."""
    monkeypatch.setattr(sjd2, "load", lambda name, **_: models[name])
    monkeypatch.chdir(tmp_path)
    logger, level, threads = logging.getLogger("sjd2"), logging.getLogger("sjd2").level, torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    logger.setLevel(level)
    torch.set_num_threads(threads)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", *arguments])
    return stop.value.code or 0


def test_four_pictures_and_a_table(
    models: dict[str, Pipeline], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    strips: list[Any] = []

    def draw_strip(panels: Any, title: str) -> Image.Image:
        strips.append((panels, title))
        return Image.new("RGB", (2, 2))

    monkeypatch.setattr("sjd2.strip.draw_strip", draw_strip)
    assert run("a dwarf", "--seed", "3", "--window", "5") == 0
    ((panels, title),) = strips
    assert title == "a dwarf"
    expected = [
        pipe.generate("a dwarf", policy, window, seed=3)
        for pipe in models.values()
        for policy, window in (("ar", None), ("sjd2", 5))
    ]
    for panel, one in zip(panels, expected, strict=True):
        assert np.array_equal(np.asarray(panel.picture), np.asarray(one.images[0]))
        assert panel.lines[1].startswith(f"{int(one.steps[0])} steps, ")
    names = ["heroes-lumina, ar", "heroes-lumina, sjd2", "heroes-emu3, ar", "heroes-emu3, sjd2"]
    assert [panel.lines[0] for panel in panels] == names
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "out/demo.png"
    rows = [re.split(r"  +", line.strip()) for line in lines[:5]]
    assert rows[0] == ["model", "policy", "steps", "step compression", "seconds"]
    for row, one, name in zip(rows[1:], expected, names, strict=True):
        steps, N = int(one.steps[0]), one.tokens.shape[1]
        assert row[:4] == [*name.split(", "), str(steps), f"{N / steps:.1f}"]
        assert f"{row[4]} s" in panels[names.index(name)].lines[1]


def test_the_file_is_a_strip_with_the_prompt_in_it(
    models: dict[str, Pipeline], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-o", "here/strip.png", "--model", "heroes-emu3") == 0
    assert capsys.readouterr().out.endswith("\nhere/strip.png\n")
    with Image.open("here/strip.png") as strip:
        assert strip.text == {"prompt": PROMPT, "seed": "0"}
        pixels = np.asarray(strip.convert("RGB"))
    first = models["heroes-emu3"].generate(PROMPT, "ar").images[0]
    large = np.asarray(enlarge(first, 32))  # 10 x 6 pixels to 320 x 192
    places = [y for y in range(len(pixels) - 192) if np.array_equal(pixels[y : y + 192, 24 : 24 + 320], large)]
    assert len(places) == 1


def test_bad_names_are_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sjd2, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    assert run("-o", "demo.gif") == 2
    assert capsys.readouterr().err == "sjd2: out must be the name of a .png file, got demo.gif\n"


def runs(seconds: list[float]) -> list[Run]:
    picture = Image.new("RGB", (2, 2))
    names = [(model, policy) for model in module.EMBEDDED for policy in module.POLICIES]
    return [
        Run(model, policy, picture, 272, 272 if policy == "ar" else 30, value)
        for (model, policy), value in zip(names, seconds, strict=True)
    ]


def test_columns_of_the_table_are_aligned() -> None:
    assert table(runs([12.345, 1, 0.5, 0.25])).splitlines() == [
        "model          policy  steps  step compression  seconds",
        "heroes-lumina  ar        272               1.0    12.35",
        "heroes-lumina  sjd2       30               9.1     1.00",
        "heroes-emu3    ar        272               1.0     0.50",
        "heroes-emu3    sjd2       30               9.1     0.25",
    ]


def test_more_seconds_for_fewer_steps_are_not_hidden() -> None:
    assert remarks(runs([2.0, 1.0, 2.0, 2.0])) == []
    (line,) = remarks(runs([2.0, 1.0, 2.0, 2.1]))
    assert line.startswith("Fewer steps, but more seconds here (heroes-emu3): a CPU pays for every row of the window")
    assert "(heroes-lumina, heroes-emu3)" in remarks(runs([1.0, 1.1, 1.0, 1.1]))[0]


def test_the_first_policy_does_not_pay_for_what_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    draw = Pipeline.generate

    def generate(self: Pipeline, prompt: str, policy: str, *rest: Any, **options: Any) -> Any:
        calls.append(policy)
        return dataclasses.replace(draw(self, prompt, policy, *rest, **options), seconds=float(len(calls)))

    monkeypatch.setattr(Pipeline, "generate", generate)
    found = module.compare("heroes-emu3", "a", 4, 0, "cpu")
    assert calls == ["sjd2", "ar", "sjd2"]
    assert [run.seconds for run in found] == [2.0, 3.0]
