"""Which shapes are measured: those of both published models, around one base shape on a CPU, all of them on a GPU.

`smoke` is one tiny case of everything, to see that it runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

GRIDS = ("smoke", "cpu", "full")

WINDOWS = (16, 32, 64, 96, 128)
VOCABULARIES = (8192, 16_384, 32_768, 65_536)
PREFIXES = (512, 1024, 2048, 4096, 9216)
BATCHES = (1, 4, 16)
DTYPES = ("float32", "bfloat16")
MHA, GQA = {"H": 32, "Hkv": 32}, {"H": 32, "Hkv": 8}  # Lumina-mGPT, Emu3

Numbers = dict[str, Any]
Axes = Mapping[str, Sequence[Any]]


def star(base: Numbers, axes: Axes) -> list[Numbers]:
    """The base, and the base with one number changed at a time: what plots against one axis need."""
    found = [base]
    for name, values in axes.items():
        found += [base | {name: value} for value in values if value != base[name]]
    return found


def product(base: Numbers, axes: Axes) -> list[Numbers]:
    """Every combination of the axes, the names in the base's order."""
    combinations = itertools.product(*axes.values())
    return [base | dict(zip(axes, values, strict=True)) for values in combinations]


def line(points: Sequence[Mapping[str, Any]], axis: str, base: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The points that differ from the base along ``axis`` at most."""
    for point in points:
        if all(point.get(name) == value for name, value in base.items() if name != axis):
            yield point
