"""The loss plot: lines where the numbers are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sjd2.finetune.plot import _limits, draw

COLUMNS = {
    "bits": ([1, 2, 3, 4], [5.0, 3.0, 2.0, 1.5]),
    "t0.5": ([0, 4], [8.0, 4.0]),
    "tokens_per_second": ([1, 2], [1e9, 1e9]),
}


def test_a_png_with_one_line_per_loss(tmp_path: Path) -> None:
    draw(COLUMNS, tmp_path / "log.png")
    drawn = np.asarray(Image.open(tmp_path / "log.png").convert("RGB")).reshape(-1, 3).astype(int)
    blue = (np.abs(drawn - (0x1F, 0x77, 0xB4)).max(1) < 8).sum()
    grey = (np.abs(drawn - 153).max(1) < 8).sum()
    orange = (np.abs(drawn - (0xFF, 0x7F, 0x0E)).max(1) < 8).sum()
    assert blue > 100, "the first held-out loss has the first colour"
    assert grey > 100
    assert orange == 0, "speed is not a loss"
    assert [path.name for path in tmp_path.iterdir()] == ["log.png"]


def test_shares_have_axes_of_their_own(tmp_path: Path) -> None:
    """They would press losses into a line, or the other way round."""
    draw(COLUMNS | {"flat_parts": ([0, 4], [0.2, 0.9])}, tmp_path / "log.png")
    with Image.open(tmp_path / "log.png") as drawn:
        assert drawn.size == (960, 840)
        lower = np.asarray(drawn.convert("RGB"))[420:].reshape(-1, 3).astype(int)
    assert (np.abs(lower - (0x1F, 0x77, 0xB4)).max(1) < 8).sum() > 100


def test_an_empty_log_is_an_empty_plot(tmp_path: Path) -> None:
    draw({}, tmp_path / "log.png")
    with Image.open(tmp_path / "log.png") as drawn:
        assert drawn.size == (960, 540)


def test_without_matplotlib_the_install_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sjd2-kernels\[finetune\]'"):
        draw(COLUMNS, tmp_path / "log.png")


def test_the_first_steps_of_a_new_model_are_cut_off_and_those_of_a_tuned_one_are_not() -> None:
    tuned = {"t1": ([0, 50, 100], [12.0, 9.0, 8.0])}
    assert _limits(tuned) == pytest.approx((7.8, 12.2))
    new = {"bits": ([1, 50, 100], [12.0, 1.0, 0.5])}
    assert _limits(new) == pytest.approx((0.475, 1.025))
    assert _limits({}) == (0.0, 0.5)
    assert _limits({"t1": ([3], [2.0])}) == (1.5, 2.5)
