"""A case of a benchmark: what it is called, what it computes, how it is checked; and how one is run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import harness, roofline
from .clock import Buffers, Clock, CudaClock, Variant
from .harness import AGAIN, LEAST_ROUNDS, OURS, Comparison, Timing


class Missing(Exception):
    """A peer cannot run here; the text says why."""


class WrongResult(AssertionError):
    """The error gate: something computes another function than the case says."""


@dataclass(frozen=True)
class Spec:
    """A case before its tensors are made.

    Attributes:
        suite: module of bench.suites.
        operator: what is timed, a key of `roofline.WORK` or a word of the suite's own.
        numbers: dimension letters and options.
        compiled: whether peers that compile for the shape are asked as well: each takes its compiler some seconds.
        headline: whether the README shows it.
    """

    suite: str
    operator: str
    numbers: Mapping[str, Any]
    compiled: bool = False
    headline: bool = False

    @property
    def name(self) -> str:
        """The numbers in a row."""
        return ", ".join(_said(name, value) for name, value in self.numbers.items())

    def __str__(self) -> str:
        return f"{self.operator}: {self.name}"


def _said(name: str, value: Any) -> str:
    if name == "dtype":
        return str(value)
    if name == "top_k":
        return f"top-k {value or 'off'}"
    return f"{name} {value}"


@dataclass
class Case:
    """A case with its tensors.

    Attributes:
        spec: what it is.
        buffers: sets of tensors that calls rotate over.
        ours: the variant that the case is about.
        peers: name -> a function that makes the variant, or raises `Missing`; called one by one: some compile.
        gate: checks our variant; raises `WrongResult`, returns what it found and what it allows.
        checks: peer -> its own check, for peers that must compute the same numbers.
        targets: peer -> least ratio peer / ours.
        counts: variant -> what was counted of it.
    """

    spec: Spec
    buffers: Buffers
    ours: Variant
    gate: Callable[[], dict[str, float]]
    peers: dict[str, Callable[[], Variant]] = field(default_factory=dict)
    checks: dict[str, Callable[[Variant], None]] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)


def within(found: float, allowed: float, what: str) -> dict[str, float]:
    """The record of an error gate.

    Raises: WrongResult if ``found`` is over ``allowed``, or not a number.
    """
    if not found <= allowed:
        raise WrongResult(f"{what}: error {found:.3g}, at most {allowed:.3g} is allowed")
    return {"found": float(found), "allowed": float(allowed)}


def run(
    case: Case, clock: Clock, ceilings: roofline.Ceilings, seconds: float = 4.0, rounds: int = LEAST_ROUNDS
) -> Comparison:
    """Error gate, then the interleaved timing of our variant, twice, and of every peer that can run here.

    A peer that cannot run is noted with its reason; one that computes something else is an error, as ours would be.

    Raises: WrongResult.
    """
    spec, error = case.spec, case.gate()
    prepared = {OURS: clock.prepare(case.ours, case.buffers), AGAIN: clock.prepare(case.ours, case.buffers)}
    if isinstance(clock, CudaClock) and prepared[OURS].how == "graph":  # for peers that cannot be captured
        prepared["sjd2, call by call"] = clock.uncaptured().prepare(case.ours, case.buffers)
    absent = {}
    for name, make in case.peers.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # compilers have much to say
                variant = make()
                if name in case.checks:
                    case.checks[name](variant)
                prepared[name] = clock.prepare(variant, case.buffers)
        except Missing as reason:
            absent[name] = str(reason)
        except WrongResult:
            raise
        except Exception as failure:  # a peer's trouble is not ours: it is reported, and the run goes on
            absent[name] = f"failed: {type(failure).__name__}: {str(failure).strip().splitlines()[0][:200]}"
    taken = harness.interleave({name: p.measure for name, p in prepared.items()}, seconds, rounds)
    timings = {name: Timing.of(values, prepared[name].how) for name, values in taken.items()}
    floor = None
    if spec.operator in roofline.WORK:
        work = roofline.WORK[spec.operator](**spec.numbers)
        ms, bound = ceilings.floor(work)
        floor = {"bytes": work.bytes, "operations": work.operations, "ms": ms, "bound": bound}
    targets = {peer: ratio for peer, ratio in case.targets.items() if peer in timings}
    return Comparison(
        spec.operator, spec.name, timings, targets, dict(spec.numbers), absent, error, floor, case.counts, spec.headline
    )
