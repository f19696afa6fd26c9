"""How everything here is timed: variants interleaved in one run, medians, percentiles and minima, cold buffers.

On a shared CPU absolute times drift by a factor of two within minutes; ratios of interleaved variants do not. A variant
that fails its error check raises before anything is timed, so no number is ever printed for a wrong result.

Our variant is timed twice under two names. How far the two come apart is the noise of a run: differences below it say
nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

OURS, AGAIN = "sjd2", "sjd2 again"
LEAST_NOISE = 0.1
LEAST_ROUNDS = 25  # medians of fewer move with what the allocator does to a peer (NOTES.md)
MAX_ROUNDS = 50  # times the least number of rounds


@dataclass
class Timing:
    """Milliseconds of one variant over the rounds of a run, and how they were taken (clock.py)."""

    median: float
    p20: float
    p80: float
    minimum: float
    how: str = "host clock"

    @staticmethod
    def of(seconds: Sequence[float], how: str = "host clock") -> Timing:
        """Of the seconds of every round."""
        ms = sorted(1e3 * s for s in seconds)
        return Timing(statistics.median(ms), ms[len(ms) // 5], ms[len(ms) * 4 // 5], ms[0], how)


@dataclass
class Comparison:
    """One case: what was timed, how long each variant took, what it costs at least, and what `ours` must reach.

    Attributes:
        suite, case: the heading that the case stands under, and its own name; the two are its identity between runs.
        numbers: what the case's name says, by dimension letter.
        timings: variant -> its times.
        targets: peer -> least ratio peer / ours.
        absent: peer -> why it was not timed.
        error: what the error gate found, and what it allows.
        floor: bytes, operations, milliseconds of the floor and what bounds it; None where no floor is stated.
        counts: variant -> tensor operations, synchronisations and the like, where they were counted.
        headline: whether the README shows it.
    """

    suite: str
    case: str
    timings: dict[str, Timing]
    targets: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    error: dict[str, float] = field(default_factory=dict)
    floor: dict[str, Any] | None = None
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    headline: bool = False
    ours: str = OURS

    def ratio(self, peer: str) -> float:
        """How many times longer the peer takes: the median over the run of a peer over the median of ours."""
        return self.timings[peer].median / self.timings[self.ours].median

    def ratio_of_minima(self, peer: str) -> float:
        """The same of the fastest rounds, which neighbours on a shared machine disturb least."""
        return self.timings[peer].minimum / self.timings[self.ours].minimum

    def percent_of_floor(self) -> float | None:
        """How much of our median time the floor is: 100 is as fast as the machine can be."""
        return 100 * self.floor["ms"] / self.timings[self.ours].median if self.floor else None

    def record(self) -> dict[str, Any]:
        """As it stands in a file of results."""
        peers = [name for name in self.timings if name not in (self.ours, AGAIN)]
        return asdict(self) | {
            "ratios": {peer: self.ratio(peer) for peer in peers},
            "ratios_of_minima": {peer: self.ratio_of_minima(peer) for peer in peers},
            "percent_of_floor": self.percent_of_floor(),
        }


def interleave(
    measures: Mapping[str, Callable[[int], float]], seconds: float = 4.0, rounds: int = LEAST_ROUNDS
) -> dict[str, list[float]]:
    """Times every variant once per round, in rotating order, for `rounds` rounds or `seconds`, whichever is longer.

    A measure is called with the number of the round, to pick one of several cold buffers, and returns seconds.
    """
    names = list(measures)
    taken: dict[str, list[float]] = {name: [] for name in names}
    begin, i = time.perf_counter(), 0
    while i < rounds or (time.perf_counter() - begin < seconds and i < MAX_ROUNDS * rounds):
        for j in range(len(names)):
            name = names[(i + j) % len(names)]
            taken[name].append(measures[name](i))
        i += 1
    return taken


def noise(records: Sequence[Mapping[str, Any]]) -> float:
    """The noise of a run as a part of 1: twice what separates our two timings in nine of ten cases, at least 0.1."""
    apart = sorted(
        abs(record["timings"][AGAIN]["median"] / record["timings"][record["ours"]]["median"] - 1)
        for record in records
        if AGAIN in record["timings"]
    )
    return max(LEAST_NOISE, 2 * apart[len(apart) * 9 // 10]) if apart else LEAST_NOISE
