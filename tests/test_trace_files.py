"""The folder of a trace: which files, the JSON read back, and a model that cannot draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sjd2.backbones.base import NoPictureDecoder
from sjd2.decoder import Sampling
from sjd2.policies import get_policy
from sjd2.trace import film
from sjd2.trace.files import FORMAT, write
from sjd2.trace.record import Trace, record
from toy_backbone import Toy

TOY = Toy()
GRID = TOY.grid((4, 4))
ABOUT = {"prompt": "ab", "model": "toy", "seed": 5, "clock": "steps"}


@pytest.fixture(autouse=True)
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """An animation of three pictures."""
    monkeypatch.setattr(film, "FRAMES", 2)


@pytest.fixture(scope="module")
def traces() -> dict[str, Trace]:
    values = {"window": 4, "denoise_steps": 3, "spacing": "linear"}
    return {n: record(TOY, get_policy(n), "ab", GRID, Sampling(), 5, values) for n in ("sjd2", "ar")}


def test_files_and_json(traces: dict[str, Trace], tmp_path: Path) -> None:
    files = write(TOY, traces, GRID, ABOUT, "steps", tmp_path / "new")
    names = ["accept.png", "map.png", "picture.png", "film.png", "race.gif", "trace.json"]
    assert [path.name for path in files] == names
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)
    held: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))
    assert held["format"] == FORMAT
    assert {key: held[key] for key in ABOUT} == ABOUT
    assert held["pictures"] == names[:-1]
    assert held["grid"] == {"height": 4, "width": 4, "N": GRID.n_tokens, "forced": GRID.forced.tolist()}
    assert list(held["runs"]) == ["sjd2", "ar"]
    for name, trace in traces.items():
        assert held["runs"][name] == json.loads(json.dumps(trace.as_json()))
        assert sum(held["runs"][name]["accept_lengths"]) == GRID.n_tokens
    with Image.open(files[2]) as picture:
        assert picture.text["prompt"] == "ab"
        assert picture.size == (512, 512)


def test_a_model_without_a_picture_decoder_has_charts(
    traces: dict[str, Trace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(self: Toy, codes: Any) -> Any:
        raise NoPictureDecoder("no file")

    monkeypatch.setattr(Toy, "decode", decode)
    files = write(TOY, traces, GRID, ABOUT, "steps", tmp_path)
    assert [path.name for path in files] == ["accept.png", "map.png", "trace.json"]
    assert json.loads(files[-1].read_text())["pictures"] == ["accept.png", "map.png"]
