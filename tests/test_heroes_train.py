"""Training of the embedded models: what a batch holds, and that a stage learns, measures and resumes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import sjd2
import torch
import typer
from sjd2.finetune.batch import padded
from sjd2.finetune.levels import Teeth
from sjd2.heroes import model as models
from sjd2.heroes import train
from sjd2.heroes.model import Shape, build
from sjd2.schedule import time_grid
from typer.testing import CliRunner

TINY = Shape(C=32, layers=1, H=2, ffn=32)


def test_noisy_batches_are_functions_of_the_step() -> None:
    backbone = build("heroes-lumina", TINY)
    batch, forced = train.clean(backbone, TINY, 8, 40), backbone.grid().forced
    first, again, other = (train.noisy_batch(batch, forced, step, Teeth(clean=0)) for step in (5, 5, 6))
    assert torch.equal(first.level, again.level)
    assert first.times is not None
    assert again.times is not None
    assert torch.equal(first.times, again.times)
    assert not torch.equal(first.level, other.level) or not torch.equal(first.times, other.times)
    assert torch.equal(first.seed, torch.arange(40, 48))
    assert not first.level[:, forced >= 0].any()
    assert first.level[:, forced < 0].any(1).all()


def test_every_grid_is_drawn_and_its_levels_have_times() -> None:
    backbone = build("heroes-lumina", TINY)
    batch, forced, seen = train.clean(backbone, TINY, 2, 0), backbone.grid().forced, set()
    for step in range(60):
        made = train.noisy_batch(batch, forced, step, Teeth())
        assert made.times is not None
        assert made.times.shape == (train.ROWS + 1,)
        T = next(T for spacing, T in train.GRIDS if torch.equal(made.times, padded(time_grid(T, spacing), train.ROWS)))
        assert int(made.level.max()) <= T
        seen.add(T)
    assert seen == {T for _, T in train.GRIDS}


def test_some_prompts_are_dropped() -> None:
    """A dropped caption leaves the unconditional row: the separator alone, or no words before the picture."""
    lumina, emu3 = (train.clean(build(name, TINY), TINY, 200, 0) for name in models.NAMES)
    assert 5 <= int((lumina.prompt == 1).sum()) <= 40
    assert torch.equal(lumina.prompt == 1, emu3.prompt == 6)


@pytest.mark.parametrize("backbone", ["lumina", "emu3"])
def test_all_stages(backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command trains, writes checkpoints that load, logs held-out bits, and does nothing the second time."""
    monkeypatch.setattr(train, "SMALL", TINY)
    monkeypatch.setattr(train, "DRAWN", 2)
    app = typer.Typer()
    app.command()(train.main)
    arguments = f"--backbone {backbone} --out {tmp_path} --ar-steps 25 --tune-steps 4 --batch 4 --no-compile".split()
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    with (tmp_path / "ar" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "20", "25"]
    assert float(rows[-1]["bits"]) < float(rows[1]["bits"]) < 11.2  # log2 of the vocabulary
    with (tmp_path / "noise" / "log.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert {"flat", "mottled", "mottled_t1"} <= last.keys()
    assert 0 < float(last["flat_parts"]) < 0.9, "an untrained model is wrong about most parts, and right about some"
    pipe = sjd2.load(tmp_path / "noise" / "checkpoint")
    assert pipe.generate("a human", policy="sjd2", window=64, denoise_steps=2).status == ["ok"]
    before = (tmp_path / "noise.pt").stat().st_mtime_ns
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (tmp_path / "noise.pt").stat().st_mtime_ns == before
