"""Files of runs, read into what a page shows: text of tables, and pictures as data URIs."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation import results
from ..evaluation.summary import summarise
from ..evaluation.table import COLUMNS, headline, seconds_line, setting_table

COMPARED = ("steps", "compression", "became time, alone", "parts right", "bits/token", "p, same law as ar")
MEDIA = {".png": "image/png", ".gif": "image/gif"}
MEANING = {
    "accept.png": "tokens that each step committed",
    "map.png": "over the picture: the step that committed each token, and its steps in the window",
    "film.png": "the window denoising into the picture",
    "race.gif": "both policies at equal time",
}


@dataclass(frozen=True)
class Evaluation:
    """A file of `sjd2 eval`.

    Attributes:
        label: what the page calls it.
        headline: model, prompts, sampling, commits.
        kinds: kind -> ``head`` and ``rows`` of the table, ``note``, ``settings`` (setting -> column of `COMPARED` ->
            text) and ``pictures`` (setting -> caption -> data URI).
    """

    label: str
    headline: str
    kinds: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Tracing:
    """A file of `sjd2 trace`.

    Attributes:
        label, headline: as above. prompt: what was drawn.
        head, rows: of the table, a row per policy.
        pictures: (meaning, data URI).
    """

    label: str
    headline: str
    prompt: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    pictures: Sequence[tuple[str, str]]


def load(paths: Sequence[Path]) -> tuple[list[Evaluation], list[Tracing]]:
    """Read runs.

    Args:
        paths: JSON files of `sjd2 eval` and `sjd2 trace`, in the order of the page.

    Raises: FileNotFoundError; ValueError for a file of something else, or one that is given twice.
    """
    evaluations, tracings = [], []
    for path, label in zip(paths, labels(paths), strict=True):
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"report: {path} is no JSON file ({error})") from error
        if isinstance(held, dict) and "cells" in held:
            evaluations.append(_evaluation(results.read(path), label))
        elif isinstance(held, dict) and "runs" in held:
            tracings.append(_tracing(held, label, path.parent))
        else:
            raise ValueError(f"report: {path} is neither of sjd2 eval nor of sjd2 trace")
    return evaluations, tracings


def labels(paths: Sequence[Path]) -> list[str]:
    """Short names: the file's, with as many folders before it as it takes to tell them apart.

    Raises: ValueError for a file that is given twice.

    Example:
        >>> labels([Path("a/trace.json"), Path("b/trace.json")]), labels([Path("x/lumina.json")])
        (['a/trace', 'b/trace'], ['lumina'])
    """
    whole = [path.resolve().with_suffix("").parts for path in paths]
    if len(set(whole)) < len(whole):
        raise ValueError("report: a file is given twice")
    count = 1
    while len({parts[-count:] for parts in whole}) < len(whole):
        count += 1
    return ["/".join(parts[-count:]) for parts in whole]


def _evaluation(held: Mapping[str, Any], label: str) -> Evaluation:
    summary, kinds, texts = summarise(held), {}, dict(COLUMNS)
    for name, kind in summary["kinds"].items():
        head, rows = setting_table(kind)
        pictures: dict[str, dict[str, str]] = {}
        for key, row in kind["settings"].items():
            kept = held["pictures"].get(f"{key}|{name}", {})
            if kept:
                uris = [f"data:image/png;base64,{png}" for png in kept["png"]]
                pictures[row["called"]] = dict(zip(kept["captions"], uris, strict=True))
        kinds[name] = {
            "head": head, "rows": rows, "note": seconds_line(kind), "pictures": pictures,
            "settings": {row["called"]: {column: texts[column](row) for column in COMPARED}
                         for row in kind["settings"].values()},
        }  # fmt: skip
    return Evaluation(label, headline(summary), kinds)


def _tracing(held: Mapping[str, Any], label: str, folder: Path) -> Tracing:
    N, s = held["grid"]["N"], held["sampling"]
    rows = []
    for name, run in held["runs"].items():
        seconds = run["prefill"] + sum(run["seconds"])
        numbers = [run["window"], run["steps"], f"{N / run['steps']:.2f}", max(run["accept_lengths"]), f"{seconds:.2f}"]
        rows.append([name, *map(str, numbers)])
    pictures = []
    for file, meaning in MEANING.items():
        if file in held["pictures"]:
            raw = (folder / file).read_bytes()
            uri = f"data:{MEDIA[Path(file).suffix]};base64,{base64.b64encode(raw).decode('ascii')}"
            pictures.append((meaning, uri))
    about = (
        f"{held['model']}, seed {held['seed']}, guidance {s['guidance']:g}, temperature {s['temperature']:g}, top-k "
        f"{s['top_k'] or 'off'}; {held['machine']}, commit {held['commit']}."
    )
    head = ("policy", "window", "steps", "compression", "most in a step", "seconds")
    return Tracing(label, about, held["prompt"], head, rows, pictures)
