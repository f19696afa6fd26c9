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
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
import typer
from torch import Tensor, nn

from ..backbones.emu3 import Emu3
from ..backbones.lumina_mgpt import LuminaMGPT
from ..finetune.levels import Teeth
from ..finetune.loop import train
from ..finetune.objective import Batch, NextCleanToken
from ..finetune.optimizers import Schedule, muon
from ..finetune.sequences import sequences
from ..schedule import time_grid
from . import stream
from .model import LARGE, PROMPT, SMALL, Shape, build, save

STAGES = ("ar", "noise", "continuation")
# drawn per batch, so that T and the grid can be chosen when decoding
GRIDS = (("karras", 8), ("karras", 16), ("karras", 25), ("linear", 1), ("linear", 4), ("linear", 8), ("linear", 16))
ROWS = 25  # timestep rows of every batch: one shape for the compiled step
FIXED = (0.25, 0.5, 0.75, 1.0)  # times of the noise at which held-out loss is logged
HELD_OUT = 2**40  # first index of the examples that measure


def clean(backbone: LuminaMGPT | Emu3, shape: Shape, B: int, start: int, **which: bool) -> Batch:
    """Examples ``start`` .. ``start + B - 1`` without noise; ``which`` as in `stream.batch`."""
    grid = backbone.grid()
    captions, codes = stream.batch(0, start, B, shape.codes, **which)
    texts = [text or None for text in captions]
    tokens, prompt = sequences(backbone, grid, texts, torch.from_numpy(codes), PROMPT + grid.n_tokens)
    seeds = torch.arange(start, start + B)
    return Batch(tokens, prompt, torch.zeros(B, grid.n_tokens, dtype=torch.int32), seeds)


def padded(times: Tensor) -> Tensor:
    """[T+1] times with unused levels behind them, up to `ROWS`."""
    return torch.cat([times, times.new_ones(ROWS + 1 - len(times))])


def noisy(batch: Batch, forced: Tensor, step: int, teeth: Teeth) -> Batch:
    """``batch`` with levels and a time grid drawn by (step, row); forced tokens stay clean, as in decoding.

    Args:
        batch: without noise. forced: [N] int64, -1 where the model chooses. step: of the run. teeth: how levels rise.
    """
    spacing, T = GRIDS[int(np.random.Generator(np.random.Philox(key=[1, step])).integers(len(GRIDS)))]
    rng = (np.random.Generator(np.random.Philox(key=[2, int(seed)])) for seed in batch.seed)
    level = torch.from_numpy(np.stack([teeth.levels(batch.level.shape[1], T, each) for each in rng]))
    level[:, forced >= 0] = 0
    return Batch(batch.tokens, batch.prompt, level, batch.seed, padded(time_grid(T, spacing)))


def held_out_bits(backbone: LuminaMGPT | Emu3, shape: Shape, B: int, *, noise: bool) -> Callable[..., dict[str, float]]:
    """A function that measures bits per chosen token on held-out combinations with full captions: flat and mottled,
    and with the whole picture at the fixed noise times."""
    free = backbone.grid().forced < 0
    held = {name: clean(backbone, shape, 2 * B, HELD_OUT, held_out=True, full=True, mottled=name == "mottled")
            for name in ("flat", "mottled")}  # fmt: skip

    def bits(objective: NextCleanToken, batch: Batch) -> float:
        device, nats = objective.table().device, []
        for at in range(0, len(batch.tokens), B):
            tokens, prompt, level, seed = (
                x[at : at + B] for x in (batch.tokens, batch.prompt, batch.level, batch.seed)
            )
            part = Batch(tokens, prompt, level, seed, batch.times).to(device)
            with torch.no_grad():
                nats.append(objective(**vars(part)).float().cpu())
        return float(torch.cat(nats)[:, free].mean()) / math.log(2)

    def measure(objective: NextCleanToken) -> dict[str, float]:
        objective.eval()
        found = {name: bits(objective, batch) for name, batch in held.items()}
        for t in FIXED if noise else ():
            base = held["mottled"]
            level = free.int().expand(base.level.shape)
            times = padded(torch.tensor([0.0, t]))
            found[f"mottled_t{t:g}"] = bits(objective, Batch(base.tokens, base.prompt, level, base.seed, times))
        objective.train()
        return found

    return measure


def run_stage(
    backbone: LuminaMGPT | Emu3, stage: str, steps: int, B: int, lr: float, shape: Shape, folder: Path, first: int, *,
    cpu: bool, compiled: bool,
) -> None:  # fmt: skip
    """Train ``backbone`` in place through one stage.

    Args:
        first: number of its first example; no stage repeats those of another.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=cpu, mixed_precision="bf16")
    backbone.text.set_attn_implementation({"": "sdpa"})
    objective = NextCleanToken(backbone.text, backbone.lm_head)
    forced, teeth, noise = backbone.grid().forced, Teeth(), stage == "noise"

    def batch_at(step: int) -> Batch:
        batch = clean(backbone, shape, B, first + step * B)
        return noisy(batch, forced, step, teeth) if noise else batch

    if compiled:
        objective.compile()
    objective.train()
    optimizers = muon(objective, cast(nn.Module, backbone.text.layers), lr, lr)
    train(
        objective, batch_at, optimizers, Schedule(steps, end=0.02), folder,
        accelerator=accelerator, measure=held_out_bits(backbone, shape, B, noise=noise),
    )  # fmt: skip
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
    plan = {
        "ar": (ar_steps, lr, None),
        "noise": (tune_steps, tune_lr, "ar"),
        "continuation": (tune_steps, tune_lr, "ar"),
    }
    for stage in stages.split(","):
        steps, rate, after = plan[stage]
        folder, done = out / stage, out / f"{stage}.pt"
        if done.is_file():
            continue
        model = build(name, shape)
        if after is not None:
            held = torch.load(out / f"{after}.pt", weights_only=True)
            model.text.load_state_dict(held["text"]), model.lm_head.load_state_dict(held["head"])
        first = 0 if after is None else ar_steps * batch
        run_stage(model, stage, steps, batch, rate, shape, folder, first, cpu=cpu, compiled=compiled)
        save(model, folder / "checkpoint", shape)
        record = {"name": name, "stage": stage, "steps": steps, "batch": batch, "lr": rate, "shape": asdict(shape)}
        (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        torch.save({"text": model.text.state_dict(), "head": model.lm_head.state_dict()}, done.with_suffix(".new"))
        os.replace(done.with_suffix(".new"), done)


if __name__ == "__main__":
    typer.run(main)
