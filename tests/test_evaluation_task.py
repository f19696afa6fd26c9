"""What is drawn: prompts of a file by number, held-out captions of heroes by kind."""

from __future__ import annotations

import doctest

import pytest
from sjd2.evaluation import task as module
from sjd2.evaluation.measure import Measure
from sjd2.evaluation.task import PROMPTS, heroes_task, prompts_task
from sjd2.heroes import measure


def test_prompts() -> None:
    task = prompts_task(["a", "b", "c"])
    assert (task.kinds, task.count, task.judge) == ((PROMPTS,), 3, Measure)
    assert [each.caption for each in task.asked(PROMPTS, 1, 2)] == ["b", "c"]


def test_heroes() -> None:
    task = heroes_task(["flat", "mottled short"], 5)
    assert (task.kinds, task.count, task.judge) == (("flat", "mottled short"), 5, measure.Measure)
    assert task.asked("flat", 2, 3) == measure.examples("flat", 2, 3)
    with pytest.raises(ValueError, match=r"no kind \['stripes'\], there are flat, mottled"):
        heroes_task(["stripes"], 5)


def test_the_example_is_right() -> None:
    assert doctest.testmod(module).failed == 0
