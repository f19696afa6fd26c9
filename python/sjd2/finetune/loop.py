"""The training loop: one process or many, resumable at any kill, with a table of losses on disk.

A batch is a function of the step's number, and so are the learning rate and the noise: the position in the data and
the random state need no saving. What is saved, with accelerate, is weights, optimizers and the step; the new state is
complete on disk before the old one goes.
"""

from __future__ import annotations

import csv
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .objective import Batch, NextCleanToken
from .optimizers import Schedule

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

BatchAt = Callable[[int], Batch]
Measure = Callable[[NextCleanToken], dict[str, float]]
BITS = 1 / math.log(2)


def train(
    objective: NextCleanToken,
    batch_at: BatchAt,
    optimizers: Sequence[torch.optim.Optimizer],
    schedule: Schedule,
    folder: Path,
    *,
    accelerator: Accelerator,
    measure: Measure | None = None,
    clip: float = 1.0,
    accumulate: int = 1,
    log_every: int = 20,
    measure_every: int = 200,
    save_every: int = 200,
) -> None:
    """Train in place, from where the last run in this folder stopped.

    Args:
        objective: the model and its loss; prepared with the accelerator here, its weights are trained in place.
        batch_at: the batch of micro-step 0, 1, ... of this process.
        optimizers: over the objective's parameters.
        schedule: the learning rate.
        folder: for the state and ``log.csv``.
        accelerator: device, precision and processes.
        measure: held-out numbers, called at the first and last step and every ``measure_every`` steps.
        clip: largest norm of the gradient.
        accumulate: micro-steps per step.
        log_every, measure_every, save_every: steps.

    Raises: ValueError if the loss is no longer finite; the last saved state is left as it was.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]

    progress = _Progress()
    accelerator.register_for_checkpointing(progress)
    model, *prepared = accelerator.prepare(objective, *optimizers)
    base = [[group["lr"] for group in optimizer.param_groups] for optimizer in prepared]
    state = States(folder)
    if state.newest is not None:
        accelerator.load_state(str(state.newest))
        logger.info("resumed at step %d from %s", progress.step, state.newest)
    table = Table(folder / "log.csv", progress.step, accelerator.is_main_process)
    bar = tqdm(
        total=schedule.steps, initial=progress.step, unit="step", disable=None if accelerator.is_main_process else True
    )
    loss_sum, tokens, start = torch.zeros((), device=accelerator.device), 0, time.perf_counter()
    with bar, _ahead(batch_at, progress.step * accumulate, schedule.steps * accumulate) as batches:
        while progress.step < schedule.steps:
            for optimizer, rates in zip(prepared, base, strict=True):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * schedule.factor(progress.step)
            for _ in range(accumulate):
                batch = next(batches).to(accelerator.device)
                loss = model(**vars(batch)).mean()
                accelerator.backward(loss / accumulate)
                loss_sum += loss.detach() / accumulate
                tokens += batch.level.numel() * accelerator.num_processes
            accelerator.clip_grad_norm_(model.parameters(), clip)
            for optimizer in prepared:
                optimizer.step()
                optimizer.zero_grad()
            progress.step += 1
            bar.update(1)
            last = progress.step == schedule.steps
            if progress.step % log_every == 0 or last:
                count = (progress.step - 1) % log_every + 1
                bits = float(accelerator.reduce(loss_sum / count, reduction="mean")) * BITS
                if not math.isfinite(bits):
                    raise ValueError(
                        f"train: the loss is not finite at step {progress.step}; lower the learning rate, then start "
                        f"again from the state in {folder}"
                    )
                row = {"step": progress.step, "bits": bits, "tokens_per_second": tokens / (time.perf_counter() - start)}
                if measure is not None and (progress.step % measure_every == 0 or last):
                    row |= measure(accelerator.unwrap_model(model))
                table.add(row)
                bar.set_postfix(bits=f"{bits:.3f}")
                loss_sum, tokens, start = loss_sum.zero_(), 0, time.perf_counter()
            if progress.step % save_every == 0 or last:
                state.save(accelerator, progress.step)


class _Progress:
    """The step, as accelerate saves it."""

    def __init__(self) -> None:
        self.step = 0

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, held: dict[str, int]) -> None:
        self.step = held["step"]


class States:
    """Saved states of a run, ``state-<step>``: a folder has its name only when it is complete.

    Args:
        folder: of the run; created if missing.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def newest(self) -> Path | None:
        """The newest complete state."""
        found = [path for path in self.folder.glob("state-*") if path.name[6:].isdigit()]
        return max(found, key=lambda path: int(path.name[6:]), default=None)

    def save(self, accelerator: Accelerator, step: int) -> None:
        """Write the state of ``step``, then remove the older ones."""
        new, final = self.folder / "state-new", self.folder / f"state-{step}"
        if accelerator.is_main_process:
            shutil.rmtree(new, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(new))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            shutil.rmtree(final, ignore_errors=True)
            os.replace(new, final)
            for path in self.folder.glob("state-*"):
                if path != final:
                    shutil.rmtree(path, ignore_errors=True)
        accelerator.wait_for_everyone()


class Table:
    """A CSV file of rows with a step; rows after the step that a run resumes from are dropped.

    Args:
        path: of the file. step: resumed from. write: whether this process writes.
    """

    def __init__(self, path: Path, step: int, write: bool = True):
        self.path, self.write = path, write
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; the file is replaced as a whole."""
        self.rows.append({k: v if isinstance(v, int | str) else f"{v:.6g}" for k, v in row.items()})
        if not self.write:
            return
        names = list(dict.fromkeys(name for held in self.rows for name in held))
        new = self.path.with_suffix(".new")
        with new.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(new, self.path)


@contextmanager
def _ahead(batch_at: BatchAt, first: int, end: int) -> Iterator[Iterator[Batch]]:
    """Batches first .. end - 1, each made in a thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:

        def batches() -> Iterator[Batch]:
            coming = pool.submit(batch_at, first) if first < end else None
            for step in range(first + 1, end + 1):
                assert coming is not None
                batch = coming.result()
                coming = pool.submit(batch_at, step) if step < end else None
                yield batch

        yield batches()


def describe(schedule: Schedule) -> dict[str, Any]:
    """A schedule as plain values, for a run's record."""
    return asdict(schedule)
