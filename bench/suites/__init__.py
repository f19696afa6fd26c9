"""One module per group of operators, each with `specs(grid)`, the cases of a grid, and `build(spec, clock, device)`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from ..case import Case, Spec
from ..clock import Clock

SUITES = ("sampling", "window_attention", "noise", "nearest_token", "commit", "decoder_step")


def specs(grid: str, suites: Sequence[str] = SUITES) -> list[Spec]:
    """The cases of a grid ("smoke", "cpu" or "full") of some suites, in order.

    Raises: ValueError for an unknown suite.
    """
    unknown = set(suites) - set(SUITES)
    if unknown:
        raise ValueError(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    return [spec for name in suites for spec in _module(name).specs(grid)]


def build(spec: Spec, clock: Clock, device: str) -> Case:
    """The tensors and functions of a case."""
    made: Case = _module(spec.suite).build(spec, clock, device)
    return made


def _module(name: str):  # type: ignore[no-untyped-def]
    return importlib.import_module(f"{__package__}.{name}")
