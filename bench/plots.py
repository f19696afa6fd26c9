"""Plots of a run: time against window, prefix and vocabulary; the step's ratio to ar's against the window.

A plot lies beside the JSON that it was drawn from, and holds the digest of what it shows, so that a test can tell
whether the two belong together. The ground is white: readable on light and dark pages alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sjd2.atomic import replacing

from .grid import GQA, MHA, line
from .suites import sampling, window_attention

Run = Mapping[str, Any]
Point = tuple[float, float]  # what is varied, milliseconds or a ratio

AXES = {
    "window": "window slots L",
    "prefix": "keys before the window",
    "vocabulary": "image ids V",
}
LETTERS = {"window": "L", "prefix": "prefix", "vocabulary": "V"}
RATIO = "ratio"
TARGET = 1.15  # of a window's step to ar's
INK, PAPER = "#222222", "#ffffff"
COLORS = ("#0b62a4", "#c44e10", "#3a7d2c", "#8a3b8f", "#97700a", "#b02a4c", "#3f7f86", "#6b6b6b")  # on white, 4.5:1


@dataclass
class Panel:
    """One coordinate system.

    Attributes:
        title, x, y: words. lines: variant -> points. floor: points of the roofline's floor. level: a horizontal line.
    """

    title: str
    x: str
    y: str
    lines: dict[str, list[Point]]
    floor: list[Point] = field(default_factory=list)
    level: float | None = None


def panels(run: Run, axis: str) -> list[Panel]:
    """What a plot of a run against an axis shows; none where the run has fewer than two points of it."""
    if axis == RATIO:
        return _ratios(run)
    dtype = "float32" if run["machine"]["device"] == "cpu" else "bfloat16"
    bases = {
        "process_logits + verify_accept": [sampling.BASE],
        "window_attention": [window_attention.BASE | heads | {"dtype": dtype} for heads in (MHA, GQA)],
    }
    found = []
    for operator, choices in bases.items():
        for base in choices:
            if LETTERS[axis] in base:
                panel = _times(run, operator, base, axis)
                found += [panel] if panel else []
    return found


def _times(run: Run, operator: str, base: Mapping[str, Any], axis: str) -> Panel | None:
    letter = LETTERS[axis]
    by_point = {
        tuple(record["numbers"].items()): record
        for record in run["comparisons"]
        if record["suite"] == operator and record.get("numbers")
    }
    rows = [by_point[tuple(point.items())] for point in line([dict(p) for p in by_point], letter, base)]
    rows = sorted((r for r in rows if r["numbers"][letter] > 1), key=lambda record: record["numbers"][letter])
    if len(rows) < 2:
        return None
    lines: dict[str, list[Point]] = {}
    for record in rows:
        for name in (record["ours"], *record["ratios"]):
            lines.setdefault(name, []).append((record["numbers"][letter], record["timings"][name]["median"]))
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    floor = [(record["numbers"][letter], record["floor"]["ms"]) for record in rows if record["floor"]]
    rest = ", ".join(f"{name} {value}" for name, value in base.items() if name not in (letter, "dtype", "D", "top_k"))
    return Panel(f"{operator}\n{rest}, {base['dtype']}", AXES[axis], "milliseconds, median", lines, floor)


def _ratios(run: Run) -> list[Panel]:
    """One panel per batch: the first and the last that every model has."""
    found, batches = [], sorted({row["B"] for model in run["models"] for row in model["rows"] if "ratios" in row})
    for B in dict.fromkeys([*batches[:1], *batches[-1:]]):
        lines: dict[str, list[Point]] = {}
        for model in run["models"]:
            for row in model["rows"]:
                if row["B"] == B and "ratios" in row and row["policy"] != "ar":
                    ratio = row["ratios"].get("graph") or next(iter(row["ratios"].values()))
                    lines.setdefault(f"{model['model']}, {row['policy']}", []).append((row["L"], ratio))
        scale = ", ".join(dict.fromkeys(model["scale"] for model in run["models"]))
        title = f"a window's step against ar's\n{scale} scale, batch {B}, guidance on"
        if any(len(points) > 1 for points in lines.values()):
            found.append(Panel(title, AXES["window"], "times as long", lines, level=TARGET))
    return found


def digest(shown: Sequence[Panel]) -> str:
    """Of everything that a plot shows."""
    return hashlib.sha256(json.dumps([asdict(panel) for panel in shown]).encode()).hexdigest()[:16]


def path_of(source: Path, axis: str) -> Path:
    """Where the plot of a file of results lies."""
    return source.with_name(f"{source.stem}-{axis}.png")


def draw(shown: Sequence[Panel], path: Path, footer: str) -> None:
    """Write a PNG.

    Args:
        shown: panels, at least one. path: of the file. footer: machine and commit.

    Raises: ModuleNotFoundError that names the install line without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("plots need matplotlib: pip install 'sjd2-kernels[bench]'") from error
    figure = Figure(figsize=(6.2 * len(shown), 4.9), dpi=110, layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    names = list(dict.fromkeys(name for panel in shown for name in panel.lines))
    colors = dict(zip(names, COLORS * (1 + len(names) // len(COLORS)), strict=False))
    for axes, panel in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _panel(axes, panel, colors)
    figure.supxlabel(footer, fontsize=7, color=INK)
    with replacing(path) as scratch:
        figure.savefig(scratch, format="png", metadata={"Description": digest(shown), "Software": "bench.plots"})


def _panel(axes: Any, panel: Panel, colors: Mapping[str, str]) -> None:
    for name, points in panel.lines.items():
        ours = name == "sjd2"
        width, order = (2.6, 5) if ours else (1.3, 3)
        axes.plot(*zip(*points, strict=True), "o-", label=name, color=colors[name], lw=width, ms=4, zorder=order)
    if panel.floor:
        axes.plot(*zip(*panel.floor, strict=True), "--", label="floor", color=INK, lw=1.2)
    if panel.level:
        axes.axhline(panel.level, ls=":", color=INK, lw=1.2, label=f"target {panel.level:g}")
    places = sorted({x for points in panel.lines.values() for x, _ in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [f"{x:g}" for x in places])
    if panel.level:  # ratios near 1: a linear scale from 0
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log")
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, at: f"{value:g}")
    axes.set_title(panel.title, fontsize=9, color=INK)
    axes.set_xlabel(panel.x, color=INK)
    axes.set_ylabel(panel.y, color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color="0.88")
    axes.set_axisbelow(True)
    axes.legend(fontsize=7, framealpha=0.9, labelcolor=INK)
