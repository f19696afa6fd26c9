"""The files of a trace, in one folder: trace.json, and the pictures that the model can draw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..backbones.base import Backbone, NoPictureDecoder
from ..grid import Grid
from ..png import save_png
from .cells import draw
from .charts import accept_chart, map_chart, save
from .film import film_strip, race, save_gif
from .record import Trace

FORMAT = "sjd2 trace 1"


def write(
    backbone: Backbone, traces: Mapping[str, Trace], grid: Grid, about: Mapping[str, Any], by: str, folder: Path
) -> list[Path]:
    """Write everything about some decodings of one prompt.

    Args:
        backbone: decodes codes.
        traces: name -> decoding; the first one has the charts and the film strip, all are in the race and the JSON.
        grid: of the pictures.
        about: what all decodings share; goes into the JSON. "prompt" is the strip's title.
        by: "seconds" or "steps", what equal time means in the race.
        folder: made where it is missing.

    Returns: the files, the JSON last: where it is, the others are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name, trace = next(iter(traces.items()))
    made = [folder / "accept.png", folder / "map.png"]
    save(accept_chart(trace), made[0])
    try:
        (picture,) = draw(backbone, trace, grid, [len(trace.seconds)], 512)
    except NoPictureDecoder:
        save(map_chart(trace, grid, None), made[1])
    else:
        save(map_chart(trace, grid, picture), made[1])
        made += [folder / "picture.png", folder / "film.png", folder / "race.gif"]
        save_png(picture, made[2], {key: about[key] for key in ("prompt", "model", "seed")} | {"policy": trace.policy})
        save_png(film_strip(backbone, trace, grid, f"{about['prompt']}: {name}", by), made[3])
        save_gif(race(backbone, traces, grid, by), made[4])
    made.append(folder / "trace.json")
    with replacing(made[-1]) as scratch:
        scratch.write_text(as_json(traces, grid, about, [path.name for path in made[:-1]]), encoding="utf-8")
    return made


def as_json(traces: Mapping[str, Trace], grid: Grid, about: Mapping[str, Any], pictures: list[str]) -> str:
    """The text of trace.json, a line per list of numbers."""
    shape = {"height": grid.height, "width": grid.width, "N": grid.n_tokens, "forced": grid.forced.tolist()}
    head = {"format": FORMAT, **about, "grid": shape, "pictures": pictures}
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    runs = []
    for name, trace in traces.items():
        fields = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in trace.as_json().items())
        runs.append(f"{json.dumps(name)}: {{\n{fields}\n}}")
    return "{\n" + ",\n".join([*lines, '"runs": {\n' + ",\n".join(runs) + "\n}"]) + "\n}\n"
