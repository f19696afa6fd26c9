"""Clocks: what is timed, which buffers, when a graph is captured; the GPU's with a device that only keeps a log."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench import clock
from bench.clock import CudaClock, HostClock, Variant, copies


class FakeCuda:
    """Stands for torch.cuda: a clock that a call moves by hand, and a log of what was asked."""

    def __init__(self) -> None:
        self.now, self.log, self.mode, self.recording = 0.0, [], "default", None

    def get_device_properties(self, device: Any) -> Any:
        return SimpleNamespace(L2_cache_size=1000)

    def synchronize(self) -> None:
        self.log.append("synchronize")

    def set_sync_debug_mode(self, mode: str) -> None:
        self.mode = mode

    def work(self, name: str, milliseconds: float) -> None:
        """What a kernel would do: recorded during a capture, else run."""
        if self.recording is not None:
            self.recording.calls.append((name, milliseconds))
        else:
            self.log.append(name)
            self.now += milliseconds

    def read(self) -> None:
        """What .item() would do."""
        assert self.recording is None, "a capture may not read"
        if self.mode == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    def Event(self, enable_timing: bool) -> Any:
        cuda = self

        class Event:
            def record(self) -> None:
                self.at = cuda.now

            def synchronize(self) -> None:
                pass

            def elapsed_time(self, other: Any) -> float:
                return float(other.at - self.at)

        return Event()

    def Stream(self) -> Any:
        return SimpleNamespace(wait_stream=lambda other: None)

    current_stream = Stream

    @contextmanager
    def stream(self, stream: Any) -> Any:
        yield

    def CUDAGraph(self) -> Any:
        cuda = self

        class Graph:
            def __init__(self) -> None:
                self.calls: list[tuple[str, float]] = []

            def replay(self) -> None:
                for name, milliseconds in self.calls:
                    cuda.work(name, milliseconds)

        return Graph()

    @contextmanager
    def graph(self, graph: Any, stream: Any) -> Any:
        self.recording = graph
        try:
            yield
        finally:
            self.recording = None


BUFFERS = [("a",), ("b",), ("c",)]


def test_a_graph_holds_a_call_of_every_buffer_in_turn_and_its_time_is_shared() -> None:
    cuda = FakeCuda()
    made = CudaClock("cpu", cuda).prepare(Variant(lambda name: cuda.work(name, 2.0)), BUFFERS)
    assert made.how == "graph"
    cuda.log.clear()
    assert made.measure(0) == pytest.approx(2e-3)
    assert cuda.log == ["a", "b", "c"] * 6  # at least 16 calls, whole turns


def test_what_reads_a_value_is_timed_call_by_call_over_a_flushed_cache() -> None:
    cuda = FakeCuda()

    def call(name: str) -> None:
        cuda.work(name, 3.0)
        cuda.read()

    timer = CudaClock("cpu", cuda)
    assert timer.flush.numel() == timer.cold_bytes == 3000
    made = timer.prepare(Variant(call), BUFFERS)
    assert made.how == "events"
    assert cuda.mode == "default"
    cuda.log.clear()
    assert [made.measure(i) for i in range(4)] == pytest.approx([3e-3] * 4)
    assert [each for each in cuda.log if each != "synchronize"] == ["a", "b", "c", "a"]
    assert cuda.log.count("synchronize") == 4


def test_graphs_can_be_declined() -> None:
    cuda = FakeCuda()
    timer = CudaClock("cpu", cuda)
    assert timer.uncaptured().prepare(Variant(lambda name: cuda.work(name, 1.0)), BUFFERS).how == "events"
    assert timer.capture


def test_another_error_of_the_first_call_is_not_taken_for_waiting() -> None:
    cuda = FakeCuda()

    def call(name: str) -> None:
        if cuda.mode == "error":
            raise RuntimeError("illegal memory access")

    with pytest.raises(RuntimeError, match="illegal"):
        CudaClock("cpu", cuda).prepare(Variant(call), BUFFERS)
    assert cuda.mode == "default"


def test_a_setup_runs_before_every_call_and_is_not_timed() -> None:
    cuda = FakeCuda()
    variant = Variant(lambda name: cuda.work(name, 2.0), lambda: cuda.work("setup", 50.0))
    made = CudaClock("cpu", cuda).prepare(variant, BUFFERS)
    cuda.log.clear()
    assert made.measure(1) == pytest.approx(2e-3)
    assert cuda.log == ["setup", "a"]  # one call a graph: a second would see what the first left


def test_the_host_clock_times_the_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    seen = []

    def wait(seconds: float, name: str) -> None:
        now[0] += seconds
        seen.append(name)

    made = HostClock().prepare(Variant(lambda name: wait(2.0, name), lambda: wait(7.0, "setup")), BUFFERS)
    assert [made.measure(i) for i in range(3)] == [2.0] * 3
    assert seen == ["setup", "a", "setup", "a", "setup", "b", "setup", "c"]


def test_copies_cover_the_cache_and_are_equal_but_not_the_same() -> None:
    tensors = (torch.arange(64.0), torch.arange(64, dtype=torch.int64))  # 768 bytes
    assert len(copies(tensors, 10_000)) == 14
    assert len(copies(tensors, 10)) == 2
    assert len(copies(tensors, 10**9)) == clock.MAX_SETS
    first, second = copies(tensors, 10)
    assert torch.equal(first[0], second[0])
    assert first[0].data_ptr() != second[0].data_ptr() != tensors[0].data_ptr()
