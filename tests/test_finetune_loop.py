"""The training loop in one process: what it logs, what it resumes to, and when it stops."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from sjd2.finetune.batch import Batch
from sjd2.finetune.loop import train
from sjd2.finetune.optimizers import Schedule, adamw
from sjd2.finetune.processes import make_accelerator
from torch import Tensor, nn


class Line(nn.Module):
    """Loss (w . x - y)^2 of random x: tokens are not looked at, seeds are."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(4))

    def forward(self, tokens: Tensor, prompt: Tensor, level: Tensor, seed: Tensor, times: Any = None) -> Tensor:
        x = torch.stack([torch.randn(4, generator=torch.Generator().manual_seed(int(s))) for s in seed])
        return ((x @ self.w - x.sum(1)) ** 2)[:, None].expand(-1, 3)


def batch(step: int) -> Batch:
    """Two examples; example i has seed i."""
    return Batch(torch.zeros(2, 5), torch.ones(2), torch.zeros(2, 3), torch.tensor([2 * step, 2 * step + 1]))


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def run(
    folder: Path, *, steps: int = 12, accumulate: int = 1, batch_at: Callable[[int], Batch] = batch, **options: Any
) -> nn.Module:
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.manual_seed(0)
    accelerator, model = make_accelerator("no", cpu=True), Line()
    accelerator.gradient_accumulation_steps = accumulate
    given = {"log_every": 2, "measure_every": 4, "save_every": 3} | options
    train(model, batch_at, adamw(model, 0.1), Schedule(steps, warmup=2), folder, accelerator=accelerator, **given)  # type: ignore[arg-type]
    return model


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in csv.DictReader(file)]


def weight(model: nn.Module) -> dict[str, float]:
    return {"weight": float(model.w.detach().sum())}


def test_rows_stand_where_something_is_due_and_say_the_mean_since_the_last(tmp_path: Path) -> None:
    seen: list[int] = []

    def record(step: int) -> Batch:
        seen.append(step)
        return batch(step)

    exported: list[int] = []
    run(tmp_path, batch_at=record, measure=weight, export=lambda model, step: exported.append(step))
    found = rows(tmp_path)
    assert [int(row["step"]) for row in found] == [0, 2, 3, 4, 6, 8, 9, 10, 12]
    assert [int(row["step"]) for row in found if row["weight"]] == [0, 4, 8, 12]
    assert [int(row["step"]) for row in found if row["bits"]] == [2, 3, 4, 6, 8, 9, 10, 12]
    assert float(found[0]["weight"]) == 0
    assert exported == [3, 6, 9, 12]
    assert seen == list(range(12))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "log.png", "state-12"]
    every = run(tmp_path / "every", log_every=1)
    losses = [float(row["bits"]) for row in rows(tmp_path / "every")]
    assert float(found[1]["bits"]) == pytest.approx((losses[0] + losses[1]) / 2, rel=1e-5)
    assert (every.w - 1).norm() < 1.5 < (torch.zeros(4) - 1).norm()


def test_micro_steps_of_half_the_size_are_the_same_step(tmp_path: Path) -> None:
    def half(step: int) -> Batch:
        return batch(step // 2).take(torch.tensor([step % 2]))

    whole, halves = run(tmp_path / "a"), run(tmp_path / "b", accumulate=2, batch_at=half)
    torch.testing.assert_close(halves.w, whole.w, rtol=1e-5, atol=1e-6)
    for a, b in zip(rows(tmp_path / "a"), rows(tmp_path / "b"), strict=True):
        assert float(a["bits"]) == pytest.approx(float(b["bits"]), rel=1e-5)


@pytest.mark.parametrize("stop", [1, 6, 11])
def test_a_run_that_was_stopped_anywhere_ends_as_if_it_had_not(tmp_path: Path, stop: int) -> None:
    def breaking(step: int) -> Batch:
        if step == stop:
            raise KeyboardInterrupt
        return batch(step)

    whole = run(tmp_path / "a", measure=weight)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", measure=weight, batch_at=breaking)
    seen: list[int] = []

    def record(step: int) -> Batch:
        seen.append(step)
        return batch(step)

    again = run(tmp_path / "b", measure=weight, batch_at=record)
    assert torch.equal(again.w, whole.w)
    assert rows(tmp_path / "b") == rows(tmp_path / "a")
    assert seen == list(range(stop // 3 * 3, 12))


def test_a_finished_run_is_read_and_not_trained_further(tmp_path: Path) -> None:
    first = run(tmp_path)
    before = rows(tmp_path)

    def none(step: int) -> Batch:
        raise AssertionError(f"step {step} of a finished run")

    assert torch.equal(run(tmp_path, batch_at=none).w, first.w)
    assert rows(tmp_path) == before


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path: Path) -> None:
    class Breaking(Line):
        def forward(self, *args: Any, **kwargs: Any) -> Tensor:
            loss = super().forward(*args, **kwargs)
            return loss * float("nan") if int(kwargs["seed"][0]) >= 8 else loss

    AcceleratorState._reset_state(reset_partial_state=True)
    model, accelerator = Breaking(), make_accelerator("no", cpu=True)
    with pytest.raises(
        ValueError, match=r"the loss is not finite at step 6; lower the learning rate, then start again"
    ):
        train(
            model, batch, adamw(model, 0.1), Schedule(12), tmp_path, accelerator=accelerator, log_every=50, save_every=3
        )  # type: ignore[arg-type]
    assert (tmp_path / "state-3").is_dir()
    assert not (tmp_path / "state-6").exists()


def test_the_learning_rate_is_the_schedules(tmp_path: Path) -> None:
    """With gradients of one sign AdamW's step is the learning rate."""

    class Constant(Line):
        def forward(self, *args: Any, **kwargs: Any) -> Tensor:
            return self.w.sum().expand(1, 1)

    AcceleratorState._reset_state(reset_partial_state=True)
    model, moved = Constant(), []
    schedule = Schedule(10, warmup=4, flat=0.5)
    train(
        model, batch, adamw(model, 0.1), schedule, tmp_path, accelerator=make_accelerator("no", cpu=True),
        measure=lambda model: (moved.append(float(model.w.detach()[0])), {})[1], measure_every=1,
    )  # type: ignore[arg-type]  # fmt: skip
    steps = [before - after for before, after in itertools.pairwise(moved)]
    assert steps == pytest.approx([0.1 * schedule.factor(step) for step in range(10)], rel=1e-4)
