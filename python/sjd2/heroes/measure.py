"""Judge pictures of heroes: which parts of their captions they show, and how far they are from the true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..decoder import Sampling
from ..evaluation import measure
from ..grid import Grid
from .captions import ATTRIBUTES, Wanted, parse
from .codes import Codebook, palette, patches
from .hero import compose, opaque
from .read import Reader
from .stream import Example, example

KINDS: Mapping[str, dict[str, bool]] = {
    "flat": {"mottled": False, "full": True},
    "mottled": {"mottled": True, "full": True},
    "flat short": {"mottled": False, "full": False},
    "mottled short": {"mottled": True, "full": False},
}
FIRST = 2**41  # index of the first example: training measures itself on others


def examples(kind: str, start: int, count: int) -> list[Example]:
    """Held-out examples number ``start`` .. of a kind; the heroes of all kinds are the same."""
    return [example(0, FIRST + at, held_out=True, **KINDS[kind]) for at in range(start, start + count)]


class Measure(measure.Measure):
    """Judges pictures of one model by what their captions ask for.

    Args:
        backbone: a model of heroes.
        sampling: how logits become laws.
        grid: of the pictures; None is the model's own.
    """

    def __init__(self, backbone: Backbone, sampling: Sampling, grid: Grid | None = None) -> None:
        super().__init__(backbone, sampling, grid)
        self.codebook: Codebook = patches() if self.grid.height == patches().side else palette()
        self.reader = Reader(self.codebook)

    def true(self, given: Sequence[Any]) -> dict[str, Any]:
        """The fields of `judge` for the true pictures after the codebook's round trip: what no model can exceed."""
        codes = torch.from_numpy(self.codebook.encode(_true(given)))
        local = self.grid.forced.repeat(len(given), 1)
        local[:, self.grid.forced < 0] = codes.flatten(1)
        return self.judge(self.backbone.ids.cpu()[local], given)

    def judge(self, tokens: Tensor, given: Sequence[Any]) -> dict[str, Any]:
        """What finished pictures are worth.

        Args:
            tokens: [B, N] int64, model ids.
            given: the examples whose captions were drawn.

        Returns: per picture ``bits`` and ``counts``, ``judged`` and ``right`` (attributes); summed over pictures
        ``slots`` (attribute -> judged, right and right in presence of those asked for with a part, then of those
        without); for captions that leave nothing open ``error`` (sum of squares and their number, over all pixels, or
        the hero's alone on a mottled background), and ``exact`` (pictures without a wrong token) on flat ones.
        """
        codes = self.backbone.codes(tokens, self.grid).cpu().numpy()
        shown, wanted = self.codebook.decode(codes), [parse(each.caption) for each in given]
        reading = self.reader.read(shown, wanted)
        named = reading.asked > 0
        named[:, ATTRIBUTES.index("background")] = True
        counts = {
            name: [int((field & at)[:, place].sum()) for at in (named, ~named) for field in
                   (reading.judged, reading.right, reading.present)]
            for place, name in enumerate(ATTRIBUTES)
        }  # fmt: skip
        found: dict[str, Any] = super().judge(tokens, given) | {
            "judged": reading.judged.sum(1).tolist(),
            "right": reading.right.sum(1).tolist(),
            "slots": counts,
        }
        if all(each.full for each in wanted):
            found |= self._against(codes, shown, wanted, given)
        return found

    def _against(
        self, codes: npt.NDArray[Any], shown: npt.NDArray[np.uint8], wanted: Sequence[Wanted], given: Sequence[Example]
    ) -> dict[str, Any]:
        true = _true(given)
        mottled = np.array([bool(each.mottled) for each in wanted])
        counted = opaque([each.hero for each in given]) | ~mottled[:, None, None]
        squares = ((shown.astype(np.int64) - true) ** 2).sum(-1)
        found = {"error": [int(squares[counted].sum()), 3 * int(counted.sum())]}
        if not mottled.any():
            same = (codes == self.codebook.encode(true)).all((1, 2))
            found["exact"] = [int(same.sum()), len(same)]
        return found


def _true(given: Sequence[Example]) -> npt.NDArray[np.uint8]:
    return compose([each.hero for each in given], [each.seed for each in given])
