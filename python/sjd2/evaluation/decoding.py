"""Decode a batch with one setting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..decoder import Decoder, Sampling
from ..grid import Grid
from .settings import Setting


@dataclass
class Decoded:
    """B finished pictures: [B, N] int64 model ids, [B] int64 steps after the prefill, and the seconds of all."""

    tokens: Tensor
    steps: Tensor
    seconds: float


def decode(
    backbone: Backbone, setting: Setting, captions: Sequence[str], seeds: Sequence[int], sampling: Sampling,
    grid: Grid | None = None,
) -> Decoded:  # fmt: skip
    """Decode one batch.

    Args:
        backbone: the model. setting: how. captions, seeds: one per picture. sampling: how logits become laws.
        grid: of the pictures; None is the model's own.

    Raises: ValueError where the logits of a picture were not finite.
    """
    grid = grid or backbone.grid()
    prompts = backbone.encode(captions, size=grid.size, guidance=sampling.guidance != 1)
    start = _now(backbone.device)
    decoder = Decoder(
        backbone, setting.policy, prompts, [grid] * len(captions), seeds, L=setting.window,
        denoise_steps=setting.denoise_steps, spacing=setting.spacing, sampling=sampling,
    )  # fmt: skip
    decoder.run()
    w = decoder.window
    tokens, steps = w.out.cpu(), w.epoch.cpu()
    seconds = _now(backbone.device) - start
    if bool(w.status.any()):
        raise ValueError(f"eval: {setting.policy.name}: the logits of a picture were not finite")
    return Decoded(tokens, steps, seconds)


def _now(device: torch.device) -> float:
    """The time when the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
