"""Judge finished pictures by what every model has: bits under its own law, and counts of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from ..backbones.base import Backbone
from ..decoder import Sampling
from ..grid import Grid
from .bits import bits_per_token
from .same_law import group_counts


class Asked(Protocol):
    """Something to draw."""

    @property
    def caption(self) -> str:
        """In words."""


class Measure:
    """Judges pictures of one model.

    Args:
        backbone: the model.
        sampling: how logits become laws.
        grid: of the pictures; None is the model's own.
    """

    def __init__(self, backbone: Backbone, sampling: Sampling, grid: Grid | None = None) -> None:
        self.backbone, self.sampling, self.grid = backbone, sampling, grid or backbone.grid()

    def judge(self, tokens: Tensor, given: Sequence[Any]) -> dict[str, Any]:
        """What finished pictures are worth.

        Args:
            tokens: [B, N] int64, model ids.
            given: what was drawn, `Asked`.

        Returns: per picture ``bits`` (per token) and ``counts`` (`same_law.group_counts`).
        """
        captions = [each.caption for each in given]
        prompts = self.backbone.encode(captions, size=self.grid.size, guidance=self.sampling.guidance != 1)
        bits = bits_per_token(self.backbone, prompts, self.grid, tokens, self.sampling)
        codes = self.backbone.codes(tokens, self.grid)
        return {"bits": [round(b, 4) for b in bits.tolist()], "counts": group_counts(codes)}

    def true(self, given: Sequence[Any]) -> dict[str, Any] | None:
        """The record of the right pictures, None where nobody knows them."""
        return None
