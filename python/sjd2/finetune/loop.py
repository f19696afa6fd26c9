"""The training loop: one process or many, resumable at any kill, with a table of losses on disk.

A batch is a function of the step's number, and so are the learning rate and the noise: the position in the data and
the random state need no saving. What is saved, with accelerate, is weights and optimizers, in a folder named by the
step; the new state is complete on disk before the old one goes.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .batch import Batch
from .objective import NextCleanToken
from .optimizers import Schedule
from .plot import draw
from .states import States
from .table import Table

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

BatchAt = Callable[[int], Batch]
Measure = Callable[[nn.Module], dict[str, float]]
Export = Callable[[nn.Module, int], None]
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
    export: Export | None = None,
    clip: float = 1.0,
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
        folder: for the state, ``log.csv`` and ``log.png``.
        accelerator: device, precision, processes, and micro-steps per step.
        measure: held-out numbers, called with the prepared model before the first step, at the last one and every
            ``measure_every`` steps.
        export: called with the prepared model and the step when a state is saved.
        clip: largest norm of the gradient.
        log_every, measure_every, save_every: steps.

    Raises: ValueError if the loss is no longer finite; the last saved state is left as it was.
    """
    model, *prepared = accelerator.prepare(objective, *optimizers)
    base = [[group["lr"] for group in optimizer.param_groups] for optimizer in prepared]
    states, first = States(folder), 0
    if states.newest is not None:
        first, held = states.newest
        accelerator.load_state(str(held))
        logger.info("resumed at step %d from %s", first, held)
    log = _Log(folder, first, schedule.steps, accelerator)
    log.plot()  # before the first step, so that a missing library shows now
    if first == 0 and measure is not None:
        log.row(0, model, measure)
    accumulate = accelerator.gradient_accumulation_steps
    with log.bar, _ahead(batch_at, first * accumulate, schedule.steps * accumulate) as batches:
        for step in range(first, schedule.steps):
            for optimizer, rates in zip(prepared, base, strict=True):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * schedule.factor(step)
            for _ in range(accumulate):
                log.count(_micro_step(model, next(batches), prepared, accelerator, clip))
            done = step + 1
            log.bar.update(1)
            last = done == schedule.steps
            measured, saved = (last or done % every == 0 for every in (measure_every, save_every))
            if measured or saved or done % log_every == 0:
                log.row(done, model, measure if measured else None)
            if saved:
                log.plot()
                states.write(done, lambda path: accelerator.save_state(str(path)), accelerator)
                if export is not None:
                    export(model, done)
                log.start()


def _micro_step(
    model: nn.Module,
    batch: Batch,
    optimizers: Sequence[torch.optim.Optimizer],
    accelerator: Accelerator,
    clip: float,
) -> torch.Tensor:
    """Forward and backward of one batch, and the step where it is due; the loss of every image token."""
    with accelerator.accumulate(model):
        nats: torch.Tensor = model(**vars(batch.to(accelerator.device)))
        accelerator.backward(nats.mean())
        if accelerator.sync_gradients:
            accelerator.clip_grad_norm_(model.parameters(), clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return nats.detach()


class _Log:
    """The mean loss since the last row, its table, its plot and the progress bar."""

    def __init__(self, folder: Path, first: int, steps: int, accelerator: Accelerator):
        from tqdm import tqdm  # type: ignore[import-untyped]

        self.folder, self.accelerator = folder, accelerator
        self.table = Table(folder / "log.csv", first, accelerator.is_main_process)
        quiet = None if accelerator.is_main_process else True  # None: quiet where the output is not a terminal
        self.bar = tqdm(total=steps, initial=first, unit="step", disable=quiet)
        self.start()

    def start(self) -> None:
        """Forget what was counted."""
        self.sum = torch.zeros((), device=self.accelerator.device)
        self.batches, self.tokens, self.since = 0, 0, time.perf_counter()

    def count(self, nats: torch.Tensor) -> None:
        """Add the losses of a batch."""
        self.sum += nats.mean()
        self.batches += 1
        self.tokens += nats.numel() * self.accelerator.num_processes

    def row(self, step: int, model: nn.Module, measure: Measure | None) -> None:
        """Write what was counted and what is measured now, and start again.

        Raises: ValueError if the mean loss of all processes is not finite.
        """
        row: dict[str, Any] = {"step": step}
        if self.batches:
            bits = float(self.accelerator.reduce(self.sum / self.batches, reduction="mean")) * BITS
            if not math.isfinite(bits):
                raise ValueError(
                    f"train: the loss is not finite at step {step}; lower the learning rate, then start again from the "
                    f"state in {self.folder}"
                )
            row |= {"bits": bits, "tokens_per_second": self.tokens / (time.perf_counter() - self.since)}
            self.bar.set_postfix(bits=f"{bits:.3f}")
        self.table.add(row | (measure(model) if measure is not None else {}))
        self.start()

    def plot(self) -> None:
        """Draw the table, in one process."""
        if self.accelerator.is_main_process:
            draw(self.table.columns(), self.folder / "log.png")


@contextmanager
def _ahead(batch_at: BatchAt, first: int, end: int) -> Iterator[Iterator[Batch]]:
    """Batches first .. end - 1, each made in a thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:

        def batches() -> Iterator[Batch]:
            coming = pool.submit(batch_at, first)
            for step in range(first + 1, end + 1):
                batch = coming.result()
                if step < end:
                    coming = pool.submit(batch_at, step)
                yield batch

        yield batches()
