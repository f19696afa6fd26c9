"""Runs as one HTML page that needs nothing else: styles and pictures are in it, no script, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from ..evaluation.settings import ordered
from .runs import COMPARED, Evaluation, Tracing


def page(evaluations: Sequence[Evaluation], tracings: Sequence[Tracing], title: str) -> str:
    """The text of the page.

    Args:
        evaluations, tracings: from `runs.load`. title: of the page.

    Raises: ModuleNotFoundError that names the install line without Jinja2.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the report needs Jinja2: pip install 'sjd2-kernels[report]'") from error
    text = resources.files("sjd2.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    kinds = [compare(evaluations, kind) for kind in dict.fromkeys(k for run in evaluations for k in run.kinds)]
    return environment.from_string(text).render(title=title, evaluations=evaluations, kinds=kinds, tracings=tracings)


def compare(evaluations: Sequence[Evaluation], kind: str) -> dict[str, Any]:
    """One kind of prompts, all runs beside each other.

    Returns: ``name``; ``runs`` that have the kind; ``columns``, per run those of `COMPARED` that it knows; ``rows``:
    setting and, per run and column, text ("" where the run lacks the setting); ``captions``; ``pictures``: run,
    setting, and per caption a data URI or "".
    """
    runs = [run for run in evaluations if kind in run.kinds]
    held = [run.kinds[kind] for run in runs]
    columns = [[c for c in COMPARED if any(row[c] != "-" for row in each["settings"].values())] for each in held]
    settings = ordered(setting for each in held for setting in each["settings"])
    rows = []
    for setting in settings:
        texts = [each["settings"].get(setting, {}) for each in held]
        rows.append((setting, [[row.get(c, "") for c in known] for row, known in zip(texts, columns, strict=True)]))
    shown = [(run, *item) for run, each in zip(runs, held, strict=True) for item in each["pictures"].items()]
    captions = list(dict.fromkeys(caption for _, _, pictures in shown for caption in pictures))
    pictures = [
        (run.label, setting, [pictures.get(caption, "") for caption in captions])
        for setting in settings for run, of, pictures in shown if of == setting
    ]  # fmt: skip
    return {
        "name": kind, "runs": runs, "columns": columns, "rows": rows, "captions": captions, "pictures": pictures,
    }  # fmt: skip
