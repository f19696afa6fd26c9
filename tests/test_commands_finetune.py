"""`sjd2 finetune`: its options are the settings, and mistakes are one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sjd2 import cli
from sjd2.finetune import run
from sjd2.finetune.settings import Settings

NEEDED = ["--model", "m", "--data", "d", "-o", "o"]


def settings(monkeypatch: pytest.MonkeyPatch, *words: str) -> Settings:
    """What a command line comes to."""
    found: list[Settings] = []
    monkeypatch.setattr(run, "tune", found.append)
    with pytest.raises(SystemExit) as stop:
        cli.main(["finetune", *words])
    assert not stop.value.code
    return found[0]


def test_options_left_out_are_the_settings_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, *NEEDED) == Settings(model="m", data=Path("d"), out=Path("o"))


def test_options_reach_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "--size",
        "24x16",
        "--lr",
        "1e-4",
        "--no-checkpointing",
        "--steps",
        "7",
        "--window",
        "32",
        "--allow-pickle",
    ]
    expected = Settings(model="m", data=Path("d"), out=Path("o"))
    changed = {"size": (24, 16), "lr": 1e-4, "checkpointing": False, "steps": 7, "window": 32, "allow_pickle": True}
    assert settings(monkeypatch, *NEEDED, *words) == replace(expected, **changed)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--attention", "paged"], "finetune: attention must be one of auto, flex, dense, got 'paged'"),
        (["--size", "big"], "size must be WIDTHxHEIGHT in pixels, such as 768x512, got 'big'"),
        (["--drop", "1.5"], "Invalid value for '--drop'"),
    ],
)
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["finetune", *NEEDED, *words])
    assert stop.value.code == 2
    assert line in capsys.readouterr().err
