"""How everything here is timed: variants interleaved in one run, medians, percentiles and minima, cold buffers.

On a shared CPU absolute times drift by a factor of two within minutes; ratios of interleaved variants do not. A variant
that fails its error check raises before anything is timed, so no number is ever printed for a wrong result.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

COLD_BYTES = 64 << 20  # buffers rotate over at least this much, so that a small case does not live in the cache


@dataclass
class Timing:
    """Milliseconds of one variant over the rounds of a run."""

    median: float
    p20: float
    p80: float
    minimum: float

    @staticmethod
    def of(seconds: list[float]) -> Timing:
        ms = sorted(1e3 * s for s in seconds)
        return Timing(statistics.median(ms), ms[len(ms) // 5], ms[len(ms) * 4 // 5], ms[0])


@dataclass
class Comparison:
    """One case: what was timed, how long each variant took, and what `ours` must reach."""

    suite: str
    case: str
    timings: dict[str, Timing]
    targets: dict[str, float] = field(default_factory=dict)  # peer -> least ratio peer / ours
    ours: str = "sjd2"

    def ratio(self, peer: str) -> float:
        """How many times longer the peer takes: the median over the run of a peer over the median of ours."""
        return self.timings[peer].median / self.timings[self.ours].median

    def ratio_of_minima(self, peer: str) -> float:
        """The same of the fastest rounds, which neighbours on a shared machine disturb least."""
        return self.timings[peer].minimum / self.timings[self.ours].minimum

    def record(self) -> dict[str, Any]:
        peers = [name for name in self.timings if name != self.ours]
        return asdict(self) | {
            "ratios": {peer: self.ratio(peer) for peer in peers},
            "ratios_of_minima": {peer: self.ratio_of_minima(peer) for peer in peers},
        }


def interleave(
    variants: Mapping[str, Callable[[int], object]], seconds: float = 4.0, rounds: int = 9
) -> dict[str, Timing]:
    """Times every variant once per round, in rotating order, for `rounds` rounds or `seconds`, whichever is longer.

    A variant is called with the number of the round, to pick one of several cold buffers.
    """
    names = list(variants)
    for name in names:
        variants[name](0)
    taken: dict[str, list[float]] = {name: [] for name in names}
    begin, i = time.perf_counter(), 0
    while i < rounds or (time.perf_counter() - begin < seconds and i < 50 * rounds):
        for j in range(len(names)):
            name = names[(i + j) % len(names)]
            start = time.perf_counter()
            variants[name](i)
            taken[name].append(time.perf_counter() - start)
        i += 1
    return {name: Timing.of(values) for name, values in taken.items()}


def copies(tensors: tuple[torch.Tensor, ...]) -> list[tuple[torch.Tensor, ...]]:
    """As many copies of the tensors as it takes to cover COLD_BYTES, at least two."""
    size = sum(t.numel() * t.element_size() for t in tensors)
    return [tuple(t.clone() for t in tensors) for _ in range(max(2, min(16, -(-COLD_BYTES // max(size, 1)))))]


def commit_id() -> str:
    """The short id of the checked-out commit, with a + if the tree has changes; "unknown" outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    import sjd2_kernels.native as native

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    reason = native.why_not()
    return {
        "device": "cpu",
        "model": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "native": reason or native.module().describe(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit_id(),
    }
