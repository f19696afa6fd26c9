"""How one variant is timed: the host's clock on a CPU; on a GPU events around replays of a graph of many calls.

On a GPU a variant that waits for the host cannot be captured: it is timed by events around one call at a time, after a
pass over more memory than the cache holds. Which of the two it was stands beside every number (`Prepared.how`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol

import torch

Buffers = Sequence[tuple[Any, ...]]

GRAPH_CALLS = 16  # calls of a graph at least: the launch of one replay (about 10 us) is shared by them
L2_TIMES = 3  # buffers rotate over this many times the last cache
CPU_COLD_BYTES = 64 << 20
MAX_SETS = 64


@dataclass(frozen=True)
class Variant:
    """One way to compute a case.

    Attributes:
        call: gets the tensors of one set of buffers.
        setup: run before every call, outside the time, where calls change what they read.
    """

    call: Callable[..., object]
    setup: Callable[[], object] | None = None


@dataclass(frozen=True)
class Prepared:
    """A variant, warmed up.

    Attributes:
        measure: number of the round -> seconds of one call.
        how: "host clock", "graph" or "events".
    """

    measure: Callable[[int], float]
    how: str


class Clock(Protocol):
    """What a device needs to be timed."""

    cold_bytes: int

    def prepare(self, variant: Variant, buffers: Buffers) -> Prepared:
        """Warm up, and say how calls will be timed."""


class HostClock:
    """Wall-clock time of one call on the CPU."""

    cold_bytes = CPU_COLD_BYTES

    def prepare(self, variant: Variant, buffers: Buffers) -> Prepared:
        """See `Clock.prepare`. The first call, which compiles and allocates, is not timed."""
        if variant.setup:
            variant.setup()
        variant.call(*buffers[0])

        def measure(i: int) -> float:
            if variant.setup:
                variant.setup()
            start = time.perf_counter()
            variant.call(*buffers[i % len(buffers)])
            return time.perf_counter() - start

        return Prepared(measure, "host clock")


class CudaClock:
    """Device time of one call.

    Args:
        device: where the tensors live.
        cuda: torch.cuda, or what stands for it in tests.
        capture: False times every variant by events, one call at a time, as a loop without graphs calls it.
    """

    def __init__(self, device: torch.device | str = "cuda", cuda: Any = torch.cuda, capture: bool = True):
        self.cuda, self.capture = cuda, capture
        self.cold_bytes = L2_TIMES * cuda.get_device_properties(device).L2_cache_size
        self.flush = torch.zeros(self.cold_bytes, dtype=torch.int8, device=device)

    def uncaptured(self) -> CudaClock:
        """The same without graphs, over the same memory."""
        other = copy(self)
        other.capture = False
        return other

    def prepare(self, variant: Variant, buffers: Buffers) -> Prepared:
        """See `Clock.prepare`."""
        for _ in range(2):  # the first call compiles, tunes, and allocates
            if variant.setup:
                variant.setup()
            variant.call(*buffers[0])
        self.cuda.synchronize()
        if self.capture and not self.waits(variant, buffers[0]):
            return self._graph(variant, buffers)
        return self._events(variant, buffers)

    def waits(self, variant: Variant, buffers: tuple[Any, ...]) -> bool:
        """Whether a call makes the host wait for the device. Asked before a capture: a failed one leaves a mess."""
        if variant.setup:
            variant.setup()
        self.cuda.set_sync_debug_mode("error")
        try:
            variant.call(*buffers)
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            return True
        finally:
            self.cuda.set_sync_debug_mode("default")
        return False

    def _graph(self, variant: Variant, buffers: Buffers) -> Prepared:
        calls = 1 if variant.setup else len(buffers) * -(-GRAPH_CALLS // len(buffers))
        stream, graph = self.cuda.Stream(), self.cuda.CUDAGraph()
        stream.wait_stream(self.cuda.current_stream())
        with self.cuda.stream(stream):  # a capture wants a warm-up on its own stream
            variant.call(*buffers[0])
        self.cuda.current_stream().wait_stream(stream)
        kept = []  # outputs stay alive during the capture, so that each call writes to memory of its own
        with self.cuda.graph(graph, stream=stream):
            for i in range(calls):
                kept.append(variant.call(*buffers[i % len(buffers)]))
        graph.replay()
        self.cuda.synchronize()

        def measure(i: int) -> float:
            if variant.setup:
                variant.setup()
                self.flush.zero_()
            return self._between(graph.replay) / calls

        return Prepared(measure, "graph")

    def _events(self, variant: Variant, buffers: Buffers) -> Prepared:
        def measure(i: int) -> float:
            if variant.setup:
                variant.setup()
            self.flush.zero_()
            self.cuda.synchronize()
            return self._between(lambda: variant.call(*buffers[i % len(buffers)]))

        return Prepared(measure, "events")

    def _between(self, call: Callable[[], object]) -> float:
        """Seconds between an event before and an event after."""
        start, end = (self.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        milliseconds: float = start.elapsed_time(end)
        return milliseconds / 1e3


def clock_of(device: torch.device | str) -> Clock:
    """The clock of a device."""
    return CudaClock(device) if torch.device(device).type == "cuda" else HostClock()


def copies(tensors: Sequence[torch.Tensor], cold_bytes: int) -> list[tuple[torch.Tensor, ...]]:
    """As many copies of the tensors as it takes to cover ``cold_bytes``, at least two, at most `MAX_SETS`."""
    size = sum(t.numel() * t.element_size() for t in tensors)
    return [tuple(t.clone() for t in tensors) for _ in range(max(2, min(MAX_SETS, -(-cold_bytes // max(size, 1)))))]
