"""Fill a file of results with what it lacks: models x settings x kinds of prompts x seeds.

Records are named "model|setting|kind|seed", models "tuned" (the one in question) and "baseline" (the same without noise
tuning). Beside the cells stand the truth (where it is known), seconds, some pictures, and a reference: plain decoding
once more with seeds of its own, which `same_law` compares every setting with, plain decoding included.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from ..backbones.base import Backbone, NoPictureDecoder
from ..decoder import Sampling
from ..grid import Grid
from ..png import fit
from ..policies import get_policy
from ..provenance import commit, machine
from .decoding import Decoded, decode
from .measure import Measure
from .records import merged
from .results import Results
from .settings import Setting, untuned
from .task import Task
from .timing import BATCH, time_settings

SEED = 2**32  # distance between the picture seeds of two runs over the same prompts; those of the reference are < 0
SHOWN, SIDE = 4, 256  # pictures of a setting and kind that are kept, and pixels of their longer side
PLAIN = Setting(get_policy("ar"), 1)


def run(
    models: Mapping[str, Backbone], settings: Mapping[str, Setting], task: Task, seeds: int, batch: int,
    sampling: Sampling, grid: Grid, results: Results, *, timed: bool, tested: bool,
) -> None:  # fmt: skip
    """Fill ``results`` with what is missing.

    Args:
        models: by name; "baseline" is decoded with `settings.UNTUNED` settings only.
        settings: by name.
        task: what is drawn.
        seeds: pictures of each prompt.
        batch: pictures per call.
        sampling: how logits become laws.
        grid: of all pictures.
        results: grows.
        timed: whether to take the seconds of all settings, unless they are there.
        tested: whether to draw the reference, unless it is there.
    """
    version = commit()  # of the code that runs: the source may move on meanwhile
    measures = {name: task.judge(backbone, sampling, grid) for name, backbone in models.items()}
    places = [(start, min(batch, task.count - start)) for start in range(0, task.count, batch)]
    for model, measure in measures.items():
        for kind in task.kinds:
            if f"{model}|{kind}" not in results.held["truth"]:
                parts = [part for place in places if (part := measure.true(task.asked(kind, *place))) is not None]
                if parts:
                    results.add("truth", f"{model}|{kind}", merged(parts))
    for kind in task.kinds if timed else ():
        if not results.held["timing"].get(kind, {}).keys() >= settings.keys():
            taken = time_settings(models["tuned"], settings, task, kind, sampling, grid, min(BATCH, batch))
            results.add("timing", kind, taken | {"machine": machine(models["tuned"].device), "commit": version})
    plan = [
        (group, model, name, kind, seed)
        for seed in range(seeds) for kind in task.kinds for model in models
        for group, names in (("reference", ["ar"] if tested else []), ("cells", list(settings)))
        for name in names if model == "tuned" or untuned(name)
    ]  # fmt: skip
    bar = tqdm(total=len(plan) * task.count, unit="picture", smoothing=0.05, disable=None)
    for group, model, name, kind, seed in plan:
        bar.set_postfix_str(f"{model}, {name}, {kind}")
        key = f"{model}|{kind}|{seed}" if group == "reference" else f"{model}|{name}|{kind}|{seed}"
        if key in results.held[group]:
            bar.update(task.count)
            continue
        setting = PLAIN if group == "reference" else settings[name]
        parts, first = [], None
        for start, size in places:
            numbers = [SEED * (seed + 1) + start + at for at in range(size)]
            if group == "reference":
                numbers = [-number for number in numbers]
            given = task.asked(kind, start, size)
            out = decode(models[model], setting, [each.caption for each in given], numbers, sampling, grid)
            parts.append({"steps": out.steps.tolist()} | measures[model].judge(out.tokens, given))
            first = first or shown(measures[model], out, given)
            bar.update(size)
        if seed == 0 and group == "cells" and first:
            results.held["pictures"][f"{model}|{name}|{kind}"] = first  # written with the cell
        results.add(group, key, merged(parts) | {"N": grid.n_tokens, "commit": version})
    bar.close()


def shown(measure: Measure, out: Decoded, given: Sequence[Any]) -> dict[str, Any]:
    """The first pictures of a batch as base64 of PNG files, small enough to be kept; none without a picture decoder."""
    tokens = out.tokens[:SHOWN]
    try:
        pictures = measure.backbone.images(measure.backbone.codes(tokens, measure.grid).to(measure.backbone.device))
    except NoPictureDecoder:
        return {}
    files = []
    for picture in pictures:
        file = io.BytesIO()
        (picture if max(picture.size) <= SIDE else fit(picture, SIDE)).save(file, format="png", optimize=True)
        files.append(base64.b64encode(file.getvalue()).decode("ascii"))
    return {"captions": [each.caption for each in given[:SHOWN]], "png": files}
