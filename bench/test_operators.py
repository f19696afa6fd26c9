"""Every operator on the CPU: ``make bench``. One test per case of the grid "cpu"; what a case is stands in suites/."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from . import suites
from .case import Spec
from .harness import Comparison


@pytest.mark.parametrize("spec", suites.specs("cpu"), ids=str)
def test_operator(compare: Callable[[Spec], Comparison], spec: Spec) -> None:
    """Error gate, interleaved timing, one row of the results."""
    comparison = compare(spec)
    assert comparison.timings["sjd2"].minimum > 0
