"""Seconds of settings, from a run of their own in which the settings take turns."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from ..backbones.base import Backbone
from ..decoder import Sampling
from ..grid import Grid
from .decoding import decode
from .settings import Setting
from .task import Task

BATCH, ROUNDS = 8, 3  # pictures of the timed batch, and how often a single picture is timed


def time_settings(
    backbone: Backbone, settings: Mapping[str, Setting], task: Task, kind: str, sampling: Sampling, grid: Grid,
    batch: int = BATCH,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Time every setting on the same prompts and seeds.

    Args:
        backbone: the model. settings: by name. task, kind: the prompts; few are drawn several times.
        sampling: how logits become laws. grid: of the pictures. batch: pictures of the timed batch.

    Returns: name -> seconds per picture ``alone`` (median of `ROUNDS`) and in a ``batch``, and the seconds of a step of
    both, ``alone_step`` and ``batch_step``.
    """
    given = [task.asked(kind, at % task.count, 1)[0] for at in range(max(batch, ROUNDS))]
    texts, seeds = [each.caption for each in given], list(range(len(given)))
    alone: dict[str, list[Any]] = {name: [] for name in settings}
    decode(backbone, settings[next(iter(settings))], texts[:1], seeds[:1], sampling, grid)  # loads and compiles
    for at in tqdm(range(ROUNDS), desc="seconds, alone", disable=None):
        for name, setting in settings.items():
            alone[name].append(decode(backbone, setting, texts[at : at + 1], seeds[at : at + 1], sampling, grid))
    taken = {}
    for name, setting in tqdm(settings.items(), desc=f"seconds, batch of {batch}", disable=None):
        together = decode(backbone, setting, texts[:batch], seeds[:batch], sampling, grid)
        taken[name] = {
            "alone": statistics.median(each.seconds for each in alone[name]),
            "alone_step": sum(each.seconds for each in alone[name]) / sum(int(each.steps) for each in alone[name]),
            "batch": together.seconds / batch,
            "batch_step": together.seconds / int(together.steps.max()),
        }
    return taken
