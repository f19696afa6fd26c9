"""Records: what is known of some pictures, per picture lists and sums over pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The record of several batches as that of one: per picture lists joined, sums added."""
    whole: dict[str, Any] = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if name == "slots":
            whole[name] = {at: np.sum([v[at] for v in values], 0).tolist() for at in values[0]}
        elif name in ("error", "exact"):
            whole[name] = np.sum(values, 0).tolist()
        else:
            whole[name] = [each for value in values for each in value]
    return whole


def decibels(error: Sequence[int]) -> float:
    """PSNR of the sum of squares and the number of values that it is over."""
    return 10 * math.log10(255**2 / max(error[0] / error[1], 1e-12))
