"""The window denoising into the picture: a film strip of a few moments, and an animation of several decodings."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from ..atomic import replacing
from ..backbones.base import Backbone
from ..grid import Grid
from ..strip import Panel, draw_strip
from .cells import draw
from .record import Trace

MOMENTS, COLUMNS = 8, 4  # of a film strip
SIDE, LARGE = 256, 320  # pixels of its pictures, and of the animation's
FRAMES, TICK, HOLD = 80, 100, 2500  # of the animation: pictures, milliseconds of each, and of the last one


def film_strip(backbone: Backbone, trace: Trace, grid: Grid, title: str, by: str) -> Image.Image:
    """The picture at moments equally far apart in steps, the first and the last included, in rows.

    Args:
        backbone: decodes codes. trace, grid: of the picture. title: over it.
        by: "seconds" names the time of each moment too, "steps" does not.
    """
    n, committed, clock = len(trace.seconds), trace.committed, trace.clock("seconds")
    steps = sorted({round(n * at / (MOMENTS - 1)) for at in range(MOMENTS)})
    panels = []
    for step, picture in zip(steps, draw(backbone, trace, grid, steps, SIDE), strict=True):
        time = (f"{clock[step]:.2f} s",) if by == "seconds" else ()
        panels.append(Panel(picture, (f"step {step} of {n}", f"{committed[step]} of {grid.n_tokens} tokens", *time)))
    return draw_strip(panels, title, side=SIDE, columns=COLUMNS, night=True)


def race(backbone: Backbone, traces: Mapping[str, Trace], grid: Grid, by: str) -> list[Image.Image]:
    """Decodings beside each other at equal times, from their start to the end of the longest.

    Args:
        backbone: decodes codes. traces: caption -> decoding of the same picture grid.
        grid: of the pictures.
        by: "seconds" or "steps", what equal time means.

    Returns: `FRAMES` + 1 pictures of one size; the last one shows all of them finished.
    """
    clocks = {name: trace.clock(by) for name, trace in traces.items()}
    end = max(clock[-1] for clock in clocks.values())
    moments = [end * frame / FRAMES for frame in range(FRAMES + 1)]
    columns = []
    for name, trace in traces.items():
        clock = clocks[name]
        at = [max(0, bisect_right(clock, moment * (1 + 1e-9)) - 1) for moment in moments]
        different = sorted(set(at))
        shown = dict(zip(different, draw(backbone, trace, grid, different, LARGE), strict=True))
        columns.append([_panel(name, trace, shown[step], step, clock, by) for step in at])
    if by == "seconds":
        titles = [f"after {moment:.2f} s" for moment in moments]
    else:
        titles = [f"after {int(moment * (1 + 1e-9))} forward passes" for moment in moments]
    return [draw_strip(row, title, side=LARGE, night=True) for title, *row in zip(titles, *columns, strict=True)]


def _panel(name: str, trace: Trace, picture: Image.Image, step: int, clock: list[float], by: str) -> Panel:
    n = len(trace.seconds)
    end = f"done after {clock[-1]:.2f} s" if by == "seconds" else f"done after {n} steps"
    return Panel(picture, (name, f"step {step} of {n}", end if step == n else " "))


def save_gif(frames: list[Image.Image], path: Path) -> None:
    """Write an animation that repeats, whole or not at all; one palette for all pictures, so that colours keep still.

    Args:
        frames: of one size. path: its folder is made where it is missing.
    """
    shown = [frames[0], frames[len(frames) // 4], frames[-1]]  # noise has colours that the finished picture lacks
    width, height = frames[0].size
    together = Image.new("RGB", (width, len(shown) * height))
    for at, frame in enumerate(shown):
        together.paste(frame, (0, at * height))
    palette = together.quantize(256)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [TICK] * (len(frames) - 1) + [HOLD]
    with replacing(path) as scratch:
        flat[0].save(scratch, format="gif", save_all=True, append_images=flat[1:], duration=times, loop=0)
