"""Records of batches add up to the record of all, and decibels are decibels."""

from __future__ import annotations

import math

import pytest
from sjd2.evaluation.records import decibels, merged


def test_lists_are_joined_and_sums_added() -> None:
    one = {"steps": [1, 2], "slots": {"hat": [1, 0], "legs": [2, 2]}, "error": [5, 10], "exact": [0, 2]}
    other = {"steps": [3], "slots": {"hat": [1, 1], "legs": [0, 1]}, "error": [7, 5], "exact": [1, 1]}
    assert merged([one, other]) == {
        "steps": [1, 2, 3], "slots": {"hat": [2, 1], "legs": [2, 3]}, "error": [12, 15], "exact": [1, 3],
    }  # fmt: skip
    assert merged([one]) == one


@pytest.mark.parametrize(("error", "expected"), [([255**2 * 3, 3], 0.0), ([100, 1], 10 * math.log10(650.25))])
def test_decibels(error: list[int], expected: float) -> None:
    assert decibels(error) == pytest.approx(expected)
    assert decibels([0, 9]) > 100  # equal pictures
