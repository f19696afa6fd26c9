"""Train an embedded model: `python -m sjd2.heroes.train --backbone lumina --out runs/lumina`.

    ar             next-token training from random weights
    noise          next-clean-token tuning of the result (SJD2)
    continuation   plain training of the same result for as long: the fair baseline of the tuned model

Each stage is a folder of the run; a run that was stopped goes on where its last saved state is. On two CPU cores the
defaults take about 35 minutes, `--large` (1024 palette tokens, a bigger model) is for a GPU.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
import typer
from torch import Tensor, nn

from ..atomic import replacing
from ..backbones.emu3 import Emu3
from ..backbones.lumina_mgpt import LuminaMGPT
from ..finetune.attention import use_attention
from ..finetune.batch import Batch, at_time, clean_batch, noisy
from ..finetune.levels import Teeth
from ..finetune.loop import train
from ..finetune.objective import NextCleanToken
from ..finetune.optimizers import Schedule, muon
from ..finetune.processes import make_accelerator
from ..finetune.sequences import sequences
from ..finetune.validation import HeldOut
from ..schedule import time_grid
from . import stream
from .model import LARGE, PROMPT, SMALL, Shape, build, save
from .right_parts import RightParts

STAGES = ("ar", "noise", "continuation")
# drawn per batch, so that T and the grid can be chosen when decoding
GRIDS = (("karras", 8), ("karras", 16), ("karras", 25), ("linear", 1), ("linear", 4), ("linear", 8), ("linear", 16))
ROWS = 25  # timestep rows of every batch: one shape for the compiled step
FIXED = (0.25, 0.5, 0.75, 1.0)  # times of the noise at which held-out loss is logged
HELD_OUT = 2**40  # first index of the examples that measure
DRAWN = 32  # pictures of each kind that are drawn and read when a stage measures itself


def clean(backbone: LuminaMGPT | Emu3, shape: Shape, B: int, start: int, **which: bool) -> Batch:
    """Examples ``start`` .. ``start + B - 1`` without noise; ``which`` as in `stream.batch`."""
    grid = backbone.grid()
    captions, codes = stream.batch(0, start, B, shape.codes, **which)
    texts = [text or None for text in captions]
    tokens, prompt = sequences(backbone, grid, texts, torch.from_numpy(codes), PROMPT + grid.n_tokens)
    seeds = torch.arange(start, start + B)
    return clean_batch(tokens, prompt, grid.n_tokens, seeds)


def noisy_batch(batch: Batch, forced: Tensor, step: int, teeth: Teeth) -> Batch:
    """``batch`` with noise on a time grid that is drawn by the run's step."""
    spacing, T = GRIDS[int(np.random.Generator(np.random.Philox(key=[1, step])).integers(len(GRIDS)))]
    return noisy(batch, forced, time_grid(T, spacing), teeth, ROWS)


def held_out(backbone: LuminaMGPT | Emu3, shape: Shape, B: int, *, noise: bool) -> dict[str, Batch]:
    """Held-out combinations with full captions: flat and mottled, and with the whole picture at the fixed times."""
    forced = backbone.grid().forced
    sets = {name: clean(backbone, shape, 2 * B, HELD_OUT, held_out=True, full=True, mottled=name == "mottled")
            for name in ("flat", "mottled")}  # fmt: skip
    noised = {f"mottled_t{t:g}": at_time(sets["mottled"], forced, t, ROWS) for t in FIXED if noise}
    return sets | noised


def right_parts(backbone: LuminaMGPT | Emu3, shape: Shape) -> RightParts:
    """Held-out combinations with full captions, flat and mottled."""
    return RightParts(backbone, shape, {
        f"{name}_parts": [stream.example(0, HELD_OUT + at, held_out=True, full=True, mottled=name == "mottled")
                          for at in range(DRAWN)]
        for name in ("flat", "mottled")
    })  # fmt: skip


def run_stage(
    backbone: LuminaMGPT | Emu3, stage: str, steps: int, B: int, lr: float, shape: Shape, folder: Path, first: int, *,
    cpu: bool, compiled: bool,
) -> None:  # fmt: skip
    """Train ``backbone`` in place through one stage, from the example ``first`` on: no stage repeats another's."""
    accelerator = make_accelerator("bf16", cpu=cpu)
    use_attention(backbone.text, flex=False)
    objective = NextCleanToken(backbone.text, backbone.lm_head)
    forced, teeth, noise = backbone.grid().forced, Teeth(), stage == "noise"

    def batch_at(step: int) -> Batch:
        batch = clean(backbone, shape, B, first + step * B)
        return noisy_batch(batch, forced, step, teeth) if noise else batch

    if compiled:
        objective.compile()
    objective.train()
    bits = HeldOut(held_out(backbone, shape, B, noise=noise), forced, B, accelerator)
    parts = right_parts(backbone, shape)
    layers = cast(nn.ModuleList, backbone.text.layers)
    optimizers, schedule = muon(objective, layers, lr, lr), Schedule(steps, end=0.02)

    def measure(model: nn.Module) -> dict[str, float]:
        return bits(model) | parts()

    train(objective, batch_at, optimizers, schedule, folder, accelerator=accelerator, measure=measure)
    objective.eval()


def main(
    backbone: Annotated[str, typer.Option(help="lumina or emu3.")] = "lumina",
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/heroes"),
    stages: Annotated[str, typer.Option(help="Stages to run, with commas.")] = ",".join(STAGES),
    ar_steps: Annotated[int, typer.Option(help="Steps of the first stage.")] = 1000,
    tune_steps: Annotated[int, typer.Option(help="Steps of the noise stage, and of the continuation.")] = 600,
    batch: Annotated[int, typer.Option(help="Pictures per step.")] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate of the first stage.")] = 4e-3,
    tune_lr: Annotated[float, typer.Option(help="Learning rate of the other two.")] = 2e-3,
    large: Annotated[bool, typer.Option(help="The bigger model over 1024 palette tokens.")] = False,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="torch.compile the step.")] = True,
) -> None:
    """Train an embedded model; see the module's text."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    name, shape, cpu = f"heroes-{backbone}", LARGE if large else SMALL, not torch.cuda.is_available()
    tuning = (tune_steps, tune_lr, "ar")
    plan = {"ar": (ar_steps, lr, None), "noise": tuning, "continuation": tuning}
    for stage in stages.split(","):
        steps, rate, after = plan[stage]
        folder, done = out / stage, out / f"{stage}.pt"
        if done.is_file():
            continue
        model = build(name, shape)
        NextCleanToken(model.text, model.lm_head).float()  # both parts, in place
        if after is not None:
            held = torch.load(out / f"{after}.pt", weights_only=True)
            model.text.load_state_dict(held["text"]), model.lm_head.load_state_dict(held["head"])
        first = 0 if after is None else ar_steps * batch
        run_stage(model, stage, steps, batch, rate, shape, folder, first, cpu=cpu, compiled=compiled)
        save(model, folder / "checkpoint", shape)
        record = {"name": name, "stage": stage, "steps": steps, "batch": batch, "lr": rate, "shape": asdict(shape)}
        (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        with replacing(done) as scratch:
            torch.save({"text": model.text.state_dict(), "head": model.lm_head.state_dict()}, scratch)


if __name__ == "__main__":
    typer.run(main)
