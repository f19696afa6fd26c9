"""What is drawn: prompts by kind, and who judges the pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .measure import Measure

PROMPTS = "prompts"  # the one kind of prompts from a file


@dataclass(frozen=True)
class Prompt:
    """A prompt of a file."""

    caption: str


@dataclass(frozen=True)
class Task:
    """Prompts and their judge.

    Attributes:
        kinds: names of sets of prompts.
        count: prompts of each kind.
        asked: (kind, start, count) -> prompts number start .. of a kind, each with a ``caption``.
        judge: (backbone, sampling, grid) -> `Measure` or one that knows more.
    """

    kinds: Sequence[str]
    count: int
    asked: Callable[[str, int, int], Sequence[Any]]
    judge: Callable[..., Measure]


def prompts_task(texts: Sequence[str]) -> Task:
    """Prompts whose right pictures nobody knows.

    Example:
        >>> [each.caption for each in prompts_task(["a dwarf", "an elf"]).asked("prompts", 1, 1)]
        ['an elf']
    """
    every = [Prompt(text) for text in texts]
    return Task((PROMPTS,), len(every), lambda kind, start, count: every[start : start + count], Measure)


def heroes_task(kinds: Sequence[str], count: int) -> Task:
    """Held-out captions of heroes, whose right pictures are known.

    Args:
        kinds: of `sjd2.heroes.measure.KINDS`. count: captions of each kind.

    Raises: ValueError for an unknown kind.
    """
    from ..heroes import measure

    if unknown := set(kinds) - measure.KINDS.keys():
        raise ValueError(f"eval: no kind {sorted(unknown)}, there are {', '.join(measure.KINDS)}")
    return Task(tuple(kinds), count, measure.examples, measure.Measure)
