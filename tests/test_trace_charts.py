"""Charts: bars and maps hold the numbers of the decoding, axes have names, text reads on white and on black."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sjd2.trace.charts import GREY, accept_chart, map_chart, save
from sjd2.trace.record import Trace
from toy_backbone import Toy

GRID = Toy().grid((4, 2))
N = GRID.n_tokens
TRACE = Trace("sjd", 4, 4, 0.0, [1, 4, 1, 3, 2], [0.1] * 5, tokens=[0] * N)


def test_bars_are_the_accept_lengths() -> None:
    left, right = accept_chart(TRACE).axes
    assert [bar.get_height() for bar in right.patches] == TRACE.accept_lengths
    counts = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in left.patches}
    assert counts == {1: 2, 2: 1, 3: 1, 4: 1}
    assert (left.get_xlabel(), left.get_ylabel()) == ("tokens committed in a step", "number of steps")
    assert (right.get_xlabel(), right.get_ylabel()) == ("step (forward pass)", "tokens committed in it")
    assert right.get_title() == f"sjd, window 4: {N} tokens in 5 steps"
    assert right.get_legend().get_texts()[0].get_text() == "mean 2.2"


@pytest.mark.parametrize("picture", [None, Image.new("RGB", (8, 4))])
def test_maps_are_the_steps_of_the_free_tokens(picture: Image.Image | None) -> None:
    figure = map_chart(TRACE, GRID, picture)
    panels = [axis for axis in figure.axes if axis.images and axis.get_xlabel() == "column (tokens)"]
    assert len(panels) == 2 + (picture is not None)
    free = (GRID.forced < 0).numpy()
    for axis, values in zip(panels[-2:], (TRACE.committed_at, TRACE.lived), strict=True):
        assert np.array_equal(axis.images[0].get_array(), np.array(values)[free].reshape(2, 4))
    bars = [axis.get_ylabel() for axis in figure.axes if axis not in panels]
    assert bars == ["step of the commit", "steps in the window"]


def test_files_are_transparent_and_their_text_reads_on_white_and_on_black(tmp_path: Path) -> None:
    save(accept_chart(TRACE), tmp_path / "new" / "a.png")
    save(map_chart(TRACE, GRID, None), tmp_path / "new" / "b.png")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.png", "b.png"]
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / "new" / name) as picture:
            assert picture.getchannel("A").getextrema() == (0, 255)
            assert picture.getpixel((0, 0))[3] == 0

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for ground in ("#ffffff", "#0d1117"):
        lighter, darker = sorted((luminance(GREY), luminance(ground)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) > 4


def test_without_matplotlib_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sjd2-kernels\[report\]'"):
        accept_chart(TRACE)
