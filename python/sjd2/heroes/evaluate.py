"""Compare decoding settings on held-out captions: `python -m sjd2.heroes.evaluate --model runs/heroes/noise/checkpoint`

Every setting of `settings` decodes the same captions with the same seeds; steps, right parts, exactness, PSNR and bits
per token are counted, and seconds are taken from a smaller run in which the settings take turns. Results are a JSON
file that grows by one cell (model, setting, kind of caption, seed) at a time: started again, the command goes on where
it was. `--table` prints the file as Markdown.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tqdm import tqdm  # type: ignore[import-untyped]

from ..atomic import replacing
from ..backbones.base import Backbone
from ..backbones.checkpoint import locate
from ..decoder import Sampling
from ..pipeline import load, settle
from ..provenance import commit, machine
from . import table
from .measure import KINDS, Measure, decode, examples, merged
from .settings import UNTUNED, Setting, chosen

SEED = 2**32  # distance between the picture seeds of two runs over the same captions
BATCH, ROUNDS = 8, 3  # pictures of the timed batch, and how often a single picture is timed


class Results:
    """The JSON file: ``options`` that all cells share, and cells by name.

    Args:
        path: read if it is there.
        options: what must be the same in every cell.

    Raises: ValueError if the file holds cells of other options.
    """

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        self.path = path
        self.held: dict[str, Any] = {"options": dict(options), "truth": {}, "timing": {}, "cells": {}}
        if path.is_file():
            self.held = read(path)
            for name, value in options.items():
                if self.held["options"].get(name, value) != value:
                    raise ValueError(
                        f"evaluate: {path} was made with {name} = {self.held['options'][name]}, not {value}; "
                        "give the same options, or another --out"
                    )
            self.held["options"] |= options

    def add(self, group: str, name: str, record: Mapping[str, Any]) -> None:
        """Put a record under ``held[group][name]`` and write the file; a reader sees the old one or the new one."""
        self.held[group][name] = dict(record)
        lines = [f'"options": {json.dumps(self.held["options"])}']
        for key in ("truth", "timing", "cells"):
            cells = ",\n".join(f"{json.dumps(at)}: {json.dumps(each)}" for at, each in self.held[key].items())
            lines.append(f'"{key}": {{\n{cells}\n}}')
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as scratch:
            scratch.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """A file of results.

    Raises: FileNotFoundError.
    """
    held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return held


def digest(folder: Path) -> str:
    """The first letters of the checksum of a checkpoint's weights."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        whole.update(path.read_bytes())
    return whole.hexdigest()[:12]


def time_settings(
    backbone: Backbone, settings: Mapping[str, Setting], kind: str, sampling: Sampling
) -> dict[str, dict[str, float]]:
    """Seconds per picture alone (median) and in a batch, and the steps of those; the settings take turns."""
    given = examples(kind, 0, max(BATCH, ROUNDS))
    texts, seeds = [each.caption for each in given], list(range(len(given)))
    alone: dict[str, list[Any]] = {name: [] for name in settings}
    decode(backbone, settings[next(iter(settings))], texts[:1], seeds[:1], sampling)  # loads and compiles
    for at in tqdm(range(ROUNDS), desc="seconds, alone", disable=None):
        for name, setting in settings.items():
            alone[name].append(decode(backbone, setting, texts[at : at + 1], seeds[at : at + 1], sampling))
    taken = {}
    for name, setting in tqdm(settings.items(), desc=f"seconds, batch of {BATCH}", disable=None):
        together = decode(backbone, setting, texts[:BATCH], seeds[:BATCH], sampling)
        taken[name] = {
            "alone": statistics.median(each.seconds for each in alone[name]),
            "alone_step": sum(each.seconds for each in alone[name]) / sum(int(each.steps) for each in alone[name]),
            "batch": together.seconds / BATCH,
            "batch_step": together.seconds / int(together.steps.max()),
        }
    return taken


def run(
    models: Mapping[str, Backbone], settings: Mapping[str, Setting], kinds: Sequence[str], count: int, seeds: int,
    batch: int, sampling: Sampling, results: Results, *, timed: bool,
) -> None:  # fmt: skip
    """Fill ``results`` with what is missing: models x settings x kinds x seeds, and the truth beside.

    Args:
        models: by name; those but "tuned" are decoded with `UNTUNED` settings only.
        settings, kinds: by name, see `settings` and `measure.KINDS`.
        count, seeds: captions of each kind, and pictures of each caption.
        batch: pictures per call.
        sampling: how logits become laws.
        results: grows.
        timed: whether to take the seconds of all settings, unless they are there.
    """
    version = commit()  # of the code that runs: the source may move on meanwhile
    measures = {name: Measure(backbone, sampling) for name, backbone in models.items()}
    places = [(start, min(batch, count - start)) for start in range(0, count, batch)]
    for model, measure in measures.items():
        for kind in kinds:
            if f"{model}|{kind}" not in results.held["truth"]:
                parts = [measure.true(examples(kind, *place)) for place in places]
                results.add("truth", f"{model}|{kind}", merged(parts))
    for kind in kinds if timed else ():
        if not results.held["timing"].get(kind, {}).keys() >= settings.keys() and "tuned" in models:
            taken = time_settings(models["tuned"], settings, kind, sampling)
            results.add("timing", kind, taken | {"machine": machine(models["tuned"].device), "commit": version})
    able = chosen(",".join(UNTUNED))
    plan = [
        (model, name, kind, seed)
        for seed in range(seeds) for kind in kinds for model in models for name in settings
        if model == "tuned" or name in able
    ]  # fmt: skip
    bar = tqdm(total=len(plan) * count, unit="picture", smoothing=0.05, disable=None)
    for model, name, kind, seed in plan:
        bar.set_postfix_str(f"{model}, {name}, {kind}")
        if f"{model}|{name}|{kind}|{seed}" not in results.held["cells"]:
            parts = []
            for start, size in places:
                numbers = [SEED * (seed + 1) + start + at for at in range(size)]
                parts.append(measures[model].drawn(settings[name], examples(kind, start, size), numbers))
                bar.update(size)
            record = merged(parts) | {"N": measures[model].grid.n_tokens, "commit": version}
            results.add("cells", f"{model}|{name}|{kind}|{seed}", record)
        else:
            bar.update(count)
    bar.close()


def main(
    model: Annotated[str, typer.Option(help="Folder of a checkpoint, or the name of an embedded model.")] = "",
    baseline: Annotated[str, typer.Option(help="The same without noise tuning: ar and coupled only.")] = "",
    out: Annotated[Path, typer.Option(help="The results; the command goes on with a file that is there.")] = Path(
        "heroes.json"
    ),
    captions: Annotated[int, typer.Option(help="Captions of each kind.")] = 256,
    seeds: Annotated[int, typer.Option(help="Pictures of each caption.")] = 2,
    policies: Annotated[str, typer.Option(help="Names of settings, with commas; * for anything.")] = "*",
    kinds: Annotated[str, typer.Option(help="Kinds of captions, with commas.")] = ",".join(KINDS),
    batch: Annotated[int, typer.Option(help="Pictures per call.")] = 32,
    guidance: Annotated[float | None, typer.Option(help="Default: the checkpoint's.")] = None,
    temperature: Annotated[float, typer.Option()] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Default: the checkpoint's.")] = None,
    device: Annotated[str, typer.Option()] = "cpu",
    timed: Annotated[bool, typer.Option("--time/--no-time", help="Take seconds too.")] = True,
    quick: Annotated[bool, typer.Option(help="16 captions, one seed.")] = False,
    show: Annotated[bool, typer.Option("--table", help="Only print the results as Markdown.")] = False,
) -> None:
    """Compare decoding settings on held-out captions; see the module's text."""
    if show:
        print(table.render(read(out)))
        return
    if not model:
        raise typer.BadParameter("give the folder of a checkpoint as --model, or --table to print results")
    if unknown := set(kinds.split(",")) - KINDS.keys():
        raise typer.BadParameter(f"no kind {sorted(unknown)}, there are {', '.join(KINDS)}")
    settings, count, repeats = chosen(policies), *((16, 1) if quick else (captions, seeds))
    folders = {"tuned": locate(model)} | ({"baseline": locate(baseline)} if baseline else {})
    models = {n: load(folder, device=device, dtype=torch.float32).backbone for n, folder in folders.items()}
    given = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "window": None}
    tuned = models["tuned"]
    values = settle(tuned, settings[next(iter(settings))].policy, tuned.grid(), given)
    sampling = Sampling(values["guidance"], values["temperature"], values["top_k"], values["top_p"])
    options = {"model": tuned.name, "captions": count, "sampling": asdict(sampling)}
    options |= {f"weights of {name}": digest(folder) for name, folder in folders.items()}
    results = Results(out, options)
    run(models, settings, kinds.split(","), count, repeats, batch, sampling, results, timed=timed)
    print(table.render(results.held))


if __name__ == "__main__":
    typer.run(main)
