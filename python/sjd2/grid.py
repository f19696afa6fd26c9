"""A picture as a row of tokens: which positions the model chooses, and which the grammar of the grid dictates.

    head | row 0 [eol] | row 1 [eol] | ... | row h-1 [eol] | tail

Rows run in raster order. Forced tokens are local ids V..V+F-1 (docs/operators.md); -1 marks a free position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """The shape of one picture as tokens.

    Attributes:
        height: rows of codes.
        width: columns of codes.
        size: (width, height) of the picture in pixels.
        forced: [N] int64 on the CPU, the local id that a position must hold, -1 where the model chooses.
    """

    height: int
    width: int
    size: tuple[int, int]
    forced: Tensor

    @property
    def n_tokens(self) -> int:
        """N, the number of tokens to generate, forced ones included."""
        return self.forced.numel()

    def free(self, tokens: Tensor) -> Tensor:
        """The free positions of [..., N] tokens, as [..., height, width]."""
        if tokens.shape[-1] != self.n_tokens:
            raise ValueError(
                f"grid: tokens must have {self.n_tokens} entries on their last axis, got {tokens.shape[-1]}"
            )
        kept = tokens[..., (self.forced < 0).to(tokens.device)]
        return kept.reshape(*tokens.shape[:-1], self.height, self.width)


def raster(
    height: int,
    width: int,
    size: tuple[int, int],
    *,
    head: Sequence[int] = (),
    eol: int | None = None,
    tail: Sequence[int] = (),
) -> Grid:
    """The grid of ``height`` rows of ``width`` free tokens.

    Args:
        height: rows of codes.
        width: columns of codes.
        size: (width, height) in pixels.
        head: local ids before the first row.
        eol: local id that ends every row, or None.
        tail: local ids after the last row.

    Examples:
        >>> raster(2, 2, (32, 32), head=[9], eol=7, tail=[8]).forced.tolist()
        [9, -1, -1, 7, -1, -1, 7, 8]
    """
    row = [-1] * width + ([] if eol is None else [eol])
    return Grid(height, width, size, torch.tensor([*head, *(row * height), *tail], dtype=torch.int64))
