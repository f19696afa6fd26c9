"""The losses of a run as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = Mapping[str, tuple[list[int], list[float]]]  # name -> (steps, values)

NOT_A_LOSS = ("tokens_per_second",)
SHARE = "_parts"  # how the names of shares of right parts end


def draw(columns: Lines, path: Path) -> None:
    """Draw losses over steps as a PNG file, written whole or not at all.

    Args:
        columns: name -> (steps, values); "bits" is the training loss, names that end in `SHARE` are shares, which get
            axes of their own, the others are held-out losses.
        path: of the PNG file.

    Raises: ModuleNotFoundError that names the install line without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the loss plot needs matplotlib: pip install 'sjd2-kernels[finetune]'") from error
    drawn = {name: columns[name] for name in sorted(columns, key="bits".__ne__) if name not in NOT_A_LOSS}
    shares = {name: drawn.pop(name) for name in list(drawn) if name.endswith(SHARE)}
    figure = Figure(figsize=(8, 7 if shares else 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1 + bool(shares), sharex=True, squeeze=False)[:, 0]
    _losses(panels[0], drawn)
    if shares:
        _shares(panels[1], shares)
    panels[-1].set_xlabel("optimizer step")
    for axes in panels:
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    with replacing(path) as scratch:
        figure.savefig(scratch, format="png")


def _losses(axes: Axes, lines: Lines) -> None:
    for name, (steps, values) in lines.items():
        if name == "bits":
            axes.plot(steps, values, color="0.6", linewidth=1, label="training", zorder=1)
        else:
            axes.plot(steps, values, marker="o", markersize=3, linewidth=1.2, label=f"held out: {name}", zorder=2)
    axes.set_ylim(*_limits(lines))
    axes.set_ylabel("loss (bits per image token)")


def _shares(axes: Axes, lines: Lines) -> None:
    for name, (steps, values) in lines.items():
        label = f"drawn: {name.removesuffix(SHARE)}"
        axes.plot(steps, [100 * value for value in values], marker="o", markersize=3, linewidth=1.2, label=label)
    axes.set_ylim(0, 100)
    axes.set_ylabel("right parts (%)")


def _limits(lines: Lines) -> tuple[float, float]:
    """Lowest and highest loss to show; the first steps of a new model would press all else into a line."""
    last = max((steps[-1] for steps, _ in lines.values()), default=0)
    points = [(s, v) for steps, values in lines.values() for s, v in zip(steps, values, strict=True)]
    settled = [value for step, value in points if step >= last / 10] or [0.0]
    low, high = min(settled), max((value for _, value in points), default=1.0)
    high = high if high < 2 * max(settled) else max(settled)
    margin = 0.05 * (high - low) or 0.5
    return max(0.0, low - margin), high + margin
