"""Held-out loss on fixed examples with fixed noise, shared by all processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .batch import Batch

if TYPE_CHECKING:
    from accelerate import Accelerator


class HeldOut:
    """Measures bits per token that the model chooses: forced tokens cost nothing and would only thin the number.

    Args:
        sets: name -> all examples of a set with their noise (see `batch.at_time`).
        forced: [N] int64, -1 where the model chooses.
        size: sequences per forward pass.
        accelerator: whose processes share the work.

    Called with a model: name -> bits per chosen token, the same in every process.
    """

    def __init__(self, sets: Mapping[str, Batch], forced: Tensor, size: int, accelerator: Accelerator):
        self.sets, self.free, self.size, self.accelerator = sets, forced < 0, size, accelerator

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """See the class."""
        model.eval()
        found = {name: self._bits(model, batch) for name, batch in self.sets.items()}
        model.train()
        return found

    def _bits(self, model: nn.Module, batch: Batch) -> float:
        """Every process calls the model equally often, as sharded ones must; what is left over is filled up with
        sequences that do not count."""
        n, world = len(batch.tokens), self.accelerator.num_processes
        calls = math.ceil(n / (self.size * world))
        mine = torch.arange(calls * self.size) * world + self.accelerator.process_index
        nats = torch.zeros((), dtype=torch.float64)
        for rows in mine.split(self.size):
            part = batch.take(rows % n).to(self.accelerator.device)
            loss = model(**vars(part)).cpu().double()[:, self.free].mean(1)
            nats += loss[rows < n].sum()
        total = self.accelerator.reduce(nats.to(self.accelerator.device), reduction="sum")
        return float(total) / n / math.log(2)
