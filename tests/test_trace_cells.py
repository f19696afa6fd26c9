"""Unfinished pictures: every cell shows its code, grey where there is none, and the window has an edge."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sjd2.grid import raster
from sjd2.trace.cells import EDGE, EMPTY, cells, draw, fit
from sjd2.trace.record import NOTHING, Trace
from toy_backbone import Toy

TOY = Toy()
GRID = raster(2, 3, (3, 2), eol=TOY.V, tail=[TOY.V + 2])  # a b c eol d e f eol end
TRACE = Trace(
    "sjd", 3, 3, accept_lengths=[2, 4, 3], seconds=[1.0] * 3, levels=[[]] * 4,
    tokens=[0, 1, 2, 5, 3, 4, 0, 5, 7], windows=[[4, NOTHING, 3], [2, 5, 1], [0, 5, 7], []],
)  # fmt: skip


def test_cells_of_every_step() -> None:
    expected = [
        ([[4, -1, 3], [-1, -1, -1]], [[1, 1, 1], [0, 0, 0]]),
        ([[0, 1, 2], [1, -1, -1]], [[0, 0, 1], [1, 0, 0]]),  # the window is c, end of line, d
        ([[0, 1, 2], [3, 4, 0]], [[0, 0, 0], [0, 0, 1]]),
        ([[0, 1, 2], [3, 4, 0]], [[0, 0, 0], [0, 0, 0]]),
    ]
    for step, (codes, window) in enumerate(expected):
        found = cells(TRACE, GRID, step)
        assert found[0].tolist() == codes
        assert found[1].astype(int).tolist() == window


def test_pixels_are_the_codes_greyed_and_framed() -> None:
    scale = 20
    first, second, _, last = (np.asarray(p) for p in draw(TOY, TRACE, GRID, [0, 1, 2, 3], 3 * scale + 2))
    assert first.shape == (2 * scale, 3 * scale, 3)  # whole multiples only
    middle = np.arange(2) * scale + scale // 2
    centres = last[np.ix_(middle, np.arange(3) * scale + scale // 2)]
    assert (centres[..., 0] == np.array([[0, 1, 2], [3, 4, 0]]) * (255 // TOY.V)).all()
    assert not (last == EDGE).all(-1).any()
    assert tuple(second[scale + scale // 2, scale + scale // 2]) == EMPTY
    assert tuple(first[scale // 2, scale // 2]) == (4 * (255 // TOY.V),) * 3
    edge = (second == EDGE).all(-1)
    assert edge[:scale, 2 * scale :].any()
    assert edge[scale:, :scale].any()
    assert not edge[:scale, : 2 * scale].any()  # nothing outside the window is drawn over
    assert not edge[scale:, scale:].any()
    assert edge[0, 2 * scale :].all()


def test_more_pictures_than_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = draw(TOY, TRACE, GRID, [0, 1, 2, 3, 1], 30)
    monkeypatch.setattr("sjd2.trace.cells.CHUNK", 2)
    parts = draw(TOY, TRACE, GRID, [0, 1, 2, 3, 1], 30)
    assert [p.tobytes() for p in parts] == [p.tobytes() for p in whole]


@pytest.mark.parametrize(
    ("size", "expected"), [((32, 32), (96, 96)), ((100, 100), (100, 100)), ((400, 200), (100, 50))]
)
def test_fit(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit(Image.new("RGB", size), 100).size == expected
