"""An end-to-end run as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .e2e_models import PAPER
from .table import head, row

Row = Mapping[str, Any]
CALLED = {"graph": "graph", "events": "call by call", "host clock": "call by call"}


def render(run: Mapping[str, Any]) -> str:
    """One table per model, batch by batch, then what stands beside it."""
    lines = [head(run)]
    for model in run["models"]:
        lines += ["", f"### {model['model']}, {model['scale']} scale", "", *_model(model)]
    return "\n".join(lines)


def _model(model: Mapping[str, Any]) -> Iterator[str]:
    first = next((each for each in model["rows"] if "tokens" in each), None)
    weights = model["weights"] / 1e9
    where = f", {first['tokens']} tokens a picture, timed at key {first['prefix']}" if first else ""
    yield f"Random weights ({weights:.2f} GB){where}."
    yield ""
    cells = ["B", "policy", "window", "rows", "ms, graph", "ms, call by call", "step ratio", "memory", "projected"]
    yield row(cells)
    yield "|" + "---|" * len(cells)
    for each in model["rows"]:
        yield _row(model, each)
    for each in model["outside"]:
        said = each.get("skipped") or f"{each['milliseconds']:.3g}"
        yield row([str(each["B"]), "transformers' generate", "1", "", "", said, "", "", ""])


def _row(model: Mapping[str, Any], each: Row) -> str:
    start = [str(each["B"]), each["policy"], str(each["L"])]
    if "skipped" in each:
        return row([*start, "", "", f"not measured: {each['skipped']}", "", "", ""])
    by = {CALLED[how]: f"{held['median']:.3g}" for how, held in each["timings"].items()}
    projected, ratio = "", f"{best_ratio(each):.2f}"
    if each["projected"]:
        p = each["projected"]
        projected = f"{p['seconds']:.3g} s, {p['tokens_per_second']:.3g} tokens/s at {p['steps']} steps"
    theirs, key = PAPER[model["model"]].milliseconds, (each["policy"], each["L"])
    if key in theirs and key[0] != "ar" and model["scale"] == "full":
        ratio += f" (paper {theirs[key] / theirs['ar', 1]:.2f})"
    memory = f"{each['memory'] / 2**30:.2f} GiB"
    return row([*start, str(each["rows"]), by.get("graph", "-"), by["call by call"], ratio, memory, projected])


def best_ratio(each: Row) -> float:
    """Of a window's step to ar's, as graphs where both are."""
    ratios = each["ratios"]
    return float(ratios.get("graph") or next(iter(ratios.values())))


def line(model: str, each: Row) -> str:
    """One row in words, for the screen."""
    said = ", ".join(f"{CALLED[how]} {held['median']:.3g} ms" for how, held in each["timings"].items())
    return f"{model}: B {each['B']}, {each['policy']}, L {each['L']}: {said}, {best_ratio(each):.2f} of ar's step"
