"""The record of a run: the same settings go on, others are refused, what changes no loss may change."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from sjd2.finetune.settings import FILE, FREE, Settings


def settings(out: Path) -> Settings:
    return Settings(model="m", data=Path("d"), out=out, size=(8, 4))


def test_the_same_settings_go_on(tmp_path: Path) -> None:
    settings(tmp_path / "run").record()
    settings(tmp_path / "run").record()
    replace(settings(tmp_path / "run"), micro_batch=4, log_every=1, checkpointing=False).record()
    assert json.loads((tmp_path / "run" / FILE).read_text())["micro_batch"] == 4
    assert [path.name for path in (tmp_path / "run").iterdir()] == [FILE]


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    settings(tmp_path).record()
    with pytest.raises(
        ValueError, match=r"holds a run with other settings: lr 2e-05, now 0.1, seed 0, now 3; give them"
    ):
        replace(settings(tmp_path), lr=0.1, seed=3).record()
    assert json.loads((tmp_path / FILE).read_text())["lr"] == 2e-5
    assert {field.name for field in fields(Settings)} > FREE


def test_unknown_words_are_named(tmp_path: Path) -> None:
    settings(tmp_path).check()
    for name, value in (("precision", "fp16"), ("attention", "paged"), ("dtype", "int8")):
        with pytest.raises(ValueError, match=f"{name} must be one of .*, got '{value}'"):
            replace(settings(tmp_path), **{name: value}).check()
