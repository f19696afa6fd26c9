"""The numbers of a decoding as charts, on a transparent ground in a grey that reads on white and on black."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import replacing
from ..grid import Grid
from .record import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from PIL.Image import Image

GREY, BAR, MEAN = "#7c7c7c", "#3d85c6", "#e06c1f"
HEIGHT, DPI = 4.2, 130  # inches, and pixels per inch


def accept_chart(trace: Trace) -> Figure:
    """Tokens per step: how often each number came, and in which order."""
    figure, (left, right) = _figure(11, 2, [1, 2])
    lengths = np.array(trace.accept_lengths)
    mean, largest = lengths.mean(), max(int(lengths.max()), 1)
    left.hist(lengths, bins=np.arange(0.5, largest + 1.5), color=BAR, rwidth=0.85)
    left.set_xlabel("tokens committed in a step")
    left.set_ylabel("number of steps")
    right.bar(np.arange(1, len(lengths) + 1), lengths, width=0.85, color=BAR)
    right.set_xlabel("step (forward pass)")
    right.set_ylabel("tokens committed in it")
    for axis in (left.xaxis, left.yaxis, right.xaxis, right.yaxis):
        _whole(axis)
    right.set_title(
        f"{trace.policy}, window {trace.window}: {lengths.sum()} tokens in {len(lengths)} steps", color=GREY
    )
    for panel, line in ((left, left.axvline), (right, right.axhline)):
        line(mean, color=MEAN, linewidth=1.5, label=f"mean {mean:.1f}")
        panel.legend(frameon=False, labelcolor=GREY)
    return figure


def map_chart(trace: Trace, grid: Grid, picture: Image | None) -> Figure:
    """Over the picture: the step that committed each token, and the steps that it lived in the window.

    Args:
        trace: of the decoding. grid: of its picture. picture: the result; None where the model cannot draw.
    """
    free = (grid.forced < 0).numpy()
    maps = [np.array(values)[free].reshape(grid.height, grid.width) for values in (trace.committed_at, trace.lived)]
    figure, axes = _figure(4.1 * (2 + (picture is not None)), 2 + (picture is not None))
    if picture is not None:
        extent = (-0.5, grid.width - 0.5, grid.height - 0.5, -0.5)
        axes[0].imshow(picture, extent=extent, interpolation="nearest")
        axes[0].set_title("the picture", color=GREY)
    labels = ("step of the commit", "steps in the window")
    for axis, values, label in zip(axes[-2:], maps, labels, strict=True):
        shown = axis.imshow(values, cmap="viridis", interpolation="nearest")
        bar = figure.colorbar(shown, ax=axis, shrink=0.8, label=label)
        _grey(bar.ax)
        bar.outline.set_edgecolor(GREY)
        _whole(bar.ax.yaxis)
        axis.set_title(f"{trace.policy}, window {trace.window}", color=GREY)
    for axis in axes:
        axis.set_xlabel("column (tokens)")
        axis.set_ylabel("row (tokens)")
        _whole(axis.xaxis)
        _whole(axis.yaxis)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a chart as a transparent PNG file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch:
        figure.savefig(scratch, format="png", transparent=True)


def _figure(width: float, columns: int, ratios: list[float] | None = None) -> tuple[Figure, Any]:
    """Empty axes in a row.

    Raises: ModuleNotFoundError that names the install line without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the charts need matplotlib: pip install 'sjd2-kernels[report]'") from error
    figure = Figure(figsize=(width, HEIGHT), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, width_ratios=ratios)
    for axis in axes:
        _grey(axis)
    return figure, axes


def _whole(axis: Axis) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def _grey(axis: Axes) -> None:
    """Text and lines in the one grey."""
    axis.tick_params(colors=GREY, which="both")
    for label in (axis.xaxis.label, axis.yaxis.label):
        label.set_color(GREY)
    for spine in axis.spines.values():
        spine.set_color(GREY)
