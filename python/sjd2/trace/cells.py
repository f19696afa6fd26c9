"""The unfinished picture: tokens that stand, the window's slots beside them, and nothing yet in the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ..backbones.base import Backbone
from ..grid import Grid
from ..png import fit
from .record import Trace

EMPTY = (52, 54, 58)  # of a cell that nothing is known of
EDGE = (255, 170, 0)  # around the window
CHUNK = 16  # pictures that are decoded at once

Codes = npt.NDArray[np.int64]


def cells(trace: Trace, grid: Grid, step: int) -> tuple[Codes, npt.NDArray[np.bool_]]:
    """The grid after some steps.

    Args:
        trace: of the decoding. grid: of its picture. step: 0..n.

    Returns: [height, width] codes, -1 for cells without one; [height, width] whether the cell is in the window.
    """
    stand, free = trace.committed[step], (grid.forced < 0).numpy()
    line, window = np.full(grid.n_tokens, -1), np.zeros(grid.n_tokens, bool)
    line[:stand] = trace.tokens[:stand]
    shown = trace.windows[step]
    line[stand : stand + len(shown)], window[stand : stand + len(shown)] = shown, True
    shape = (grid.height, grid.width)
    return line[free].reshape(shape), window[free].reshape(shape)


def draw(backbone: Backbone, trace: Trace, grid: Grid, steps: Sequence[int], side: int) -> list[Image.Image]:
    """The picture after each of some numbers of steps, the window framed.

    Args:
        backbone: decodes codes to pixels. trace, grid: of the picture.
        steps: each 0..n.
        side: pixels of the longer side; small pictures are enlarged by whole numbers to at most this.

    Returns: RGB pictures of equal size; a picture decoder that looks at neighbours sees code 0 where there is none.

    Raises: NoPictureDecoder where the model has none.
    """
    made: list[Image.Image] = []
    for start in range(0, len(steps), CHUNK):
        parts = [cells(trace, grid, step) for step in steps[start : start + CHUNK]]
        codes = torch.from_numpy(np.stack([part[0] for part in parts])).to(backbone.device)
        pixels = backbone.decode(codes.clamp(min=0)).cpu().numpy()
        made += [_framed(p, known >= 0, window, side) for p, (known, window) in zip(pixels, parts, strict=True)]
    return made


def _framed(
    pixels: npt.NDArray[np.uint8], known: npt.NDArray[np.bool_], window: npt.NDArray[np.bool_], side: int
) -> Image.Image:
    """Cells without a code greyed, an edge drawn wherever the window ends."""
    picture = np.array(fit(Image.fromarray(pixels), side))
    rows = np.arange(picture.shape[0]) * known.shape[0] // picture.shape[0]
    columns = np.arange(picture.shape[1]) * known.shape[1] // picture.shape[1]
    picture[~known[np.ix_(rows, columns)]] = EMPTY
    inside = window[np.ix_(rows, columns)]
    around = np.pad(inside, 2)
    near = [around[2 + y : 2 + y + len(rows), 2 + x : 2 + x + len(columns)] for y in (-2, 0, 2) for x in (-2, 0, 2)]
    picture[inside & ~np.all(near, 0)] = EDGE
    return Image.fromarray(picture)
