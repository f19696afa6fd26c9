"""Optimizers and the learning rate: warm-up, a flat part, a linear decay. All of it a function of the step alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Schedule:
    """The learning rate's factor at every step.

    Attributes:
        steps: of the whole run.
        warmup: steps of the linear rise.
        flat: share of the run after which the linear decay begins.
        end: factor at the last step.
    """

    steps: int
    warmup: int = 40
    flat: float = 0.55
    end: float = 0.0

    def factor(self, step: int) -> float:
        """The factor of step 0, 1, ...

        Example:
            >>> [round(Schedule(10, warmup=2, flat=0.5).factor(step), 2) for step in (0, 1, 5, 9)]
            [0.5, 1.0, 1.0, 0.2]
        """
        start = self.flat * self.steps
        decay = 1.0 if step < start else 1 - (1 - self.end) * (step - start) / (self.steps - start)
        return min(1.0, (step + 1) / max(self.warmup, 1)) * decay


def adamw(model: nn.Module, lr: float, weight_decay: float = 0.05) -> list[torch.optim.Optimizer]:
    """AdamW over all parameters (betas 0.9, 0.95), without decay of vectors; the paper's optimizer."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))]


def muon(
    model: nn.Module, layers: nn.Module, lr: float, adamw_lr: float, weight_decay: float = 0.05
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of ``layers``, AdamW for the rest (embeddings, head, norms).

    Args:
        model: all parameters. layers: the part whose matrices map hidden states to hidden states.
        lr: of Muon, in units of AdamW's (its updates are scaled to the same size). adamw_lr: of AdamW.
    """
    hidden = {id(p): p for p in layers.parameters() if p.dim() == 2 and min(p.shape) > 16}
    rest = [p for p in model.parameters() if id(p) not in hidden]
    return [
        torch.optim.Muon(hidden.values(), lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=adamw_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
